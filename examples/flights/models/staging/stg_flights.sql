with source as (

    select * from {{ source('nyc', 'flights') }}

)

select
    {{ surrogate_key(['year', 'month', 'day', 'carrier', 'flight', 'origin']) }} as flight_key,
    make_date(year, month, day) as flight_date,
    cast(time_hour as timestamp with time zone) as scheduled_hour_utc,
    cast(hour as bigint) as scheduled_hour,
    cast(minute as bigint) as scheduled_minute,
    carrier as carrier_code,
    cast(flight as bigint) as flight_number,
    tailnum as tail_number,
    origin as origin_code,
    dest as destination_code,
    {{ minute_of_day('sched_dep_time') }} as scheduled_departure_minute,
    {{ minute_of_day('dep_time') }} as departure_minute,
    {{ minute_of_day('sched_arr_time') }} as scheduled_arrival_minute,
    {{ minute_of_day('arr_time') }} as arrival_minute,
    cast(dep_delay as bigint) as departure_delay_minutes,
    cast(arr_delay as bigint) as arrival_delay_minutes,
    cast(air_time as bigint) as air_time_minutes,
    cast(distance as bigint) as distance_miles,
    _source_file,
    _source_row
from source
