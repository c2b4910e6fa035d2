with source as (

    select * from {{ source('nyc', 'planes') }}

)

select
    tailnum as tail_number,
    cast(year as bigint) as built_year,
    type as aircraft_type,
    -- The register writes the same makers in several ways.
    case
        when manufacturer like 'AIRBUS%' then 'AIRBUS'
        when manufacturer like 'MCDONNELL DOUGLAS%' then 'MCDONNELL DOUGLAS'
        else manufacturer
    end as manufacturer,
    model,
    cast(engines as bigint) as engines,
    engine as engine_type,
    cast(seats as bigint) as seats
from source
