-- Reports that split all flights hold each of them once.
with counted as (

    select
        (select count(*) from {{ ref('fct_flights') }}) as in_facts,
        (select sum(flights) from {{ ref('delays_by_carrier_month') }}) as by_month,
        (select sum(flights) from {{ ref('busiest_routes') }}) as by_route,
        (select sum(flights) from {{ ref('weather_impact') }}) as by_weather,
        (select sum(flights) from {{ ref('on_time_by_hour') }}) as by_hour

)

select * from counted
where in_facts <> by_month or in_facts <> by_route or in_facts <> by_weather or in_facts <> by_hour
