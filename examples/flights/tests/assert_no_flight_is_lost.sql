-- Every row of the files is in the fact table once, and nothing else is.
with counted as (

    select
        (select count(*) from {{ source('nyc', 'flights') }}) as in_files,
        (select count(*) from {{ ref('fct_flights') }}) as in_facts

)

select * from counted where in_files <> in_facts
