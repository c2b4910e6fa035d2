{{ config(severity='warn') }}

-- Two airports stay where they are. Eagle, Colorado (EGE), has two distances from each of its origins.
select origin_code, destination_code, min(distance_miles) as shortest, max(distance_miles) as longest
from {{ ref('fct_flights') }}
group by 1, 2
having min(distance_miles) <> max(distance_miles)
