with routes as (

    select
        flights.origin_code,
        flights.destination_code,
        airports.airport_name as destination_name,
        count(*) as flights,
        count(distinct flights.carrier_code) as carriers,
        max(flights.distance_miles) as distance_miles,
        {{ percent("count(*) filter (where flights.status = 'cancelled')", "count(*)") }} as cancelled_percent,
        {{ average('flights.arrival_delay_minutes') }} as average_arrival_delay,
        {{ average('flights.air_time_minutes') }} as average_air_time
    from {{ ref('fct_flights') }} as flights
    inner join {{ ref('dim_airport') }} as airports
        on airports.airport_key = flights.destination_key
    group by 1, 2, 3

)

select
    rank() over (order by flights desc, origin_code, destination_code) as overall_rank,
    rank() over (partition by origin_code order by flights desc, destination_code) as rank_at_origin,
    origin_code,
    destination_code,
    destination_name,
    flights,
    {{ percent('flights', 'sum(flights) over (partition by origin_code)') }} as share_of_origin_percent,
    carriers,
    distance_miles,
    cancelled_percent,
    average_arrival_delay,
    average_air_time
from routes
