with source as (

    select * from {{ source('nyc', 'airlines') }}

)

select
    carrier as carrier_code,
    name as carrier_name
from source
