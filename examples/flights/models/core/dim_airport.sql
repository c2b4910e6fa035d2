select
    airport_code as airport_key,
    airport_code,
    airport_name,
    latitude,
    longitude,
    -- Shemya (SYA) is the one airport that really lies east of the date line.
    longitude > 0 and airport_code <> 'SYA' as has_suspect_position,
    altitude_feet,
    utc_offset_hours,
    time_zone,
    true as is_known
from {{ ref('stg_airports') }}

union all

-- Where a flight goes when its destination is not in the airports file.
select
    'UNKNOWN' as airport_key,
    null as airport_code,
    'Unknown airport' as airport_name,
    null as latitude,
    null as longitude,
    false as has_suspect_position,
    null as altitude_feet,
    null as utc_offset_hours,
    null as time_zone,
    false as is_known
