-- Planes in the register only: the unknown member is many planes.
with flown as (

    select
        plane_key,
        string_agg(distinct carrier_code, ', ' order by carrier_code) as carriers,
        count(*) as flights,
        count(distinct flight_date) as days_flown,
        min(flight_date) as first_flight_date,
        max(flight_date) as last_flight_date,
        cast(sum(distance_miles) as bigint) as miles,
        cast(sum(air_time_minutes) as bigint) as air_time_minutes
    from {{ ref('fct_flights') }}
    where status <> 'cancelled'
    group by 1

)

select
    planes.plane_key,
    planes.manufacturer,
    planes.model,
    planes.size_class,
    planes.seats,
    2013 - planes.built_year as age_years,
    flown.carriers,
    flown.flights,
    flown.days_flown,
    flown.first_flight_date,
    flown.last_flight_date,
    flown.miles,
    flown.air_time_minutes,
    round(cast(flown.flights as double precision) / flown.days_flown, 2) as flights_per_day_flown
from flown
inner join {{ ref('dim_plane') }} as planes
    on planes.plane_key = flown.plane_key
where planes.is_known
