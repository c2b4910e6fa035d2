select
    airlines.carrier_code,
    airlines.carrier_name,
    carrier_groups.business_model,
    coalesce(carrier_groups.alliance, 'none') as alliance
from {{ ref('stg_airlines') }} as airlines
left join {{ ref('carrier_groups') }} as carrier_groups
    on carrier_groups.carrier_code = airlines.carrier_code
