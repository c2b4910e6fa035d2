{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='append_new_columns',
        tags=['star']
    )
}}

-- One row for each scheduled departure.
--
-- A file is loaded exactly once and never changes, so an increment is the files that this
-- table has not seen yet. That is right in whatever order files arrive (a filter on the latest
-- date would lose a month that comes late), and adds rows without touching those that are there.
-- The uniqueness of flight_key, checked before the increment is published, is the safety net.

with flights as (

    select * from {{ ref('int_flights_classified') }}
    {% if is_incremental() %}
    where _source_file not in (select _source_file from {{ this }})
    {% endif %}

)

select
    flights.flight_key,
    flights.flight_date,
    flights.scheduled_hour_utc,
    flights.scheduled_hour,
    flights.carrier_code,
    flights.flight_number,
    coalesce(origins.airport_key, 'UNKNOWN') as origin_key,
    coalesce(destinations.airport_key, 'UNKNOWN') as destination_key,
    coalesce(planes.plane_key, 'UNKNOWN') as plane_key,
    flights.weather_key,
    flights.origin_code,
    flights.destination_code,
    flights.tail_number,
    flights.status,
    flights.scheduled_departure_minute,
    flights.departure_minute,
    flights.scheduled_arrival_minute,
    flights.arrival_minute,
    flights.departure_delay_minutes,
    flights.arrival_delay_minutes,
    flights.left_late,
    flights.arrived_late,
    flights.air_time_minutes,
    flights.distance_miles,
    -- distance_miles is the distance of the route, so a flown detour reads as slow.
    flights.distance_miles * 60 / cast(flights.air_time_minutes as double precision) as ground_speed_mph,
    flights._source_file,
    flights._source_row
from flights
left join {{ ref('dim_airport') }} as origins
    on origins.airport_code = flights.origin_code
left join {{ ref('dim_airport') }} as destinations
    on destinations.airport_code = flights.destination_code
left join {{ ref('dim_plane') }} as planes
    on planes.tail_number = flights.tail_number
