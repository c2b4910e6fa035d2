with source as (

    select * from {{ source('nyc', 'weather') }}

)

select
    {{ surrogate_key(['origin', 'cast(extract(epoch from time_hour) as bigint)']) }} as weather_key,
    origin as airport_code,
    cast(time_hour as timestamp with time zone) as observed_hour_utc,
    make_date(year, month, day) as observed_date,
    cast(hour as bigint) as observed_hour,
    cast(temp as double precision) as temperature_f,
    cast(dewp as double precision) as dew_point_f,
    cast(humid as double precision) as humidity_percent,
    cast(wind_dir as bigint) as wind_direction_degrees,
    cast(wind_speed as double precision) as wind_speed_mph,
    cast(wind_gust as double precision) as wind_gust_mph,
    cast(precip as double precision) as precipitation_inches,
    cast(pressure as double precision) as pressure_millibars,
    cast(visib as double precision) as visibility_miles
from source
