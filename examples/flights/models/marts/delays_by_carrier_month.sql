select
    carriers.carrier_code,
    carriers.carrier_name,
    carriers.business_model,
    days.month_start,
    days.month_name,
    count(*) as flights,
    count(*) filter (where flights.status = 'cancelled') as cancelled,
    count(*) filter (where flights.status = 'diverted') as diverted,
    count(*) filter (where flights.arrived_late) as arrived_late,
    {{ percent("count(*) filter (where flights.arrived_late)", "count(flights.arrival_delay_minutes)") }}
        as arrived_late_percent,
    {{ average('flights.departure_delay_minutes') }} as average_departure_delay,
    {{ average('flights.arrival_delay_minutes') }} as average_arrival_delay,
    {{ percentile(0.9, 'flights.arrival_delay_minutes') }} as arrival_delay_p90
from {{ ref('fct_flights') }} as flights
inner join {{ ref('dim_carrier') }} as carriers
    on carriers.carrier_code = flights.carrier_code
inner join {{ ref('dim_date') }} as days
    on days.date_day = flights.flight_date
group by 1, 2, 3, 4, 5
