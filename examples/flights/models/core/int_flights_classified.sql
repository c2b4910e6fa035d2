{{ config(materialized='ephemeral') }}

-- What became of each flight. A diverted flight left but has no time in the air to its destination.
select
    *,
    case
        when departure_minute is null then 'cancelled'
        when air_time_minutes is null then 'diverted'
        else 'completed'
    end as status,
    departure_delay_minutes >= {{ var('late_from_minutes') }} as left_late,
    arrival_delay_minutes >= {{ var('late_from_minutes') }} as arrived_late,
    {{ surrogate_key(['origin_code', 'cast(extract(epoch from scheduled_hour_utc) as bigint)']) }} as weather_key
from {{ ref('stg_flights') }}
