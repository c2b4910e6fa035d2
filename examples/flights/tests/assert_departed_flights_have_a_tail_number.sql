-- Only a cancelled flight may be without a plane.
select flight_key, carrier_code, flight_date
from {{ ref('fct_flights') }}
where status <> 'cancelled' and tail_number is null
