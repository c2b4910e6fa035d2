select
    tail_number as plane_key,
    tail_number,
    built_year,
    aircraft_type,
    manufacturer,
    model,
    engines,
    engine_type,
    seats,
    case
        when seats < 20 then 'small'
        when seats < 100 then 'regional'
        when seats < 200 then 'narrow-body'
        else 'wide-body'
    end as size_class,
    true as is_known
from {{ ref('stg_planes') }}

union all

-- What a flight refers to when its tail number is empty or not in the register.
select
    'UNKNOWN' as plane_key,
    null as tail_number,
    null as built_year,
    'Unknown' as aircraft_type,
    'Unknown' as manufacturer,
    'Unknown' as model,
    null as engines,
    'Unknown' as engine_type,
    null as seats,
    'unknown' as size_class,
    false as is_known
