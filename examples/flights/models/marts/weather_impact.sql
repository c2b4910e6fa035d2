select
    flights.origin_code,
    coalesce(weather.condition, 'not observed') as condition,
    count(*) as flights,
    {{ percent("count(*) filter (where flights.status = 'cancelled')", "count(*)") }} as cancelled_percent,
    {{ percent("count(*) filter (where flights.left_late)", "count(flights.departure_delay_minutes)") }}
        as left_late_percent,
    {{ average('flights.departure_delay_minutes') }} as average_departure_delay,
    {{ average('flights.arrival_delay_minutes') }} as average_arrival_delay
from {{ ref('fct_flights') }} as flights
left join {{ ref('dim_weather_hour') }} as weather
    on weather.weather_key = flights.weather_key
group by 1, 2
