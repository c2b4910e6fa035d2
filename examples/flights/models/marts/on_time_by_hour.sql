select
    origin_code,
    scheduled_hour,
    count(*) as flights,
    count(*) filter (where status = 'cancelled') as cancelled,
    {{ percent("count(*) filter (where not left_late)", "count(departure_delay_minutes)") }} as left_on_time_percent,
    {{ average('departure_delay_minutes') }} as average_departure_delay,
    {{ percentile(0.5, 'departure_delay_minutes') }} as median_departure_delay
from {{ ref('fct_flights') }}
group by 1, 2
