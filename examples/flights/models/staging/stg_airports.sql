with source as (

    select * from {{ source('nyc', 'airports') }}

)

select
    faa as airport_code,
    name as airport_name,
    cast(lat as double precision) as latitude,
    cast(lon as double precision) as longitude,
    cast(alt as bigint) as altitude_feet,
    cast(tz as bigint) as utc_offset_hours,
    dst as daylight_saving,
    tzone as time_zone
from source
