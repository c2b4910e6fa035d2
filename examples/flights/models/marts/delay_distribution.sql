select
    buckets.bucket_order,
    buckets.bucket,
    carriers.business_model,
    count(*) as flights,
    {{ percent('count(*)', 'sum(count(*)) over (partition by carriers.business_model)') }} as percent_of_model
from {{ ref('fct_flights') }} as flights
inner join {{ ref('delay_buckets') }} as buckets
    on flights.arrival_delay_minutes >= coalesce(buckets.from_minutes, flights.arrival_delay_minutes)
    and flights.arrival_delay_minutes < coalesce(buckets.below_minutes, flights.arrival_delay_minutes + 1)
inner join {{ ref('dim_carrier') }} as carriers
    on carriers.carrier_code = flights.carrier_code
group by 1, 2, 3
