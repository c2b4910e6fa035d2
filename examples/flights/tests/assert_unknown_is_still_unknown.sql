{{ config(severity='warn') }}

-- Facts keep the key they found when they were loaded. Rows here were loaded before their plane
-- or airport was known: build fct_flights with --full-refresh to give them their key.
select flights.flight_key, flights.tail_number, flights.destination_code
from {{ ref('fct_flights') }} as flights
left join {{ ref('dim_plane') }} as planes
    on planes.tail_number = flights.tail_number
left join {{ ref('dim_airport') }} as airports
    on airports.airport_code = flights.destination_code
where
    (flights.plane_key = 'UNKNOWN' and planes.plane_key is not null)
    or (flights.destination_key = 'UNKNOWN' and airports.airport_key is not null)
