{%- set first = modules.datetime.datetime.strptime(var('calendar_start'), '%Y-%m-%d') -%}
{%- set last = modules.datetime.datetime.strptime(var('calendar_end'), '%Y-%m-%d') -%}

with days as (

    select date '{{ var("calendar_start") }}' + cast(n as int) as date_day
    from generate_series(0, {{ (last - first).days }}) as series (n)

),

parts as (

    select
        date_day,
        cast(extract(year from date_day) as bigint) as year,
        cast(extract(quarter from date_day) as bigint) as quarter,
        cast(extract(month from date_day) as bigint) as month,
        cast(extract(week from date_day) as bigint) as iso_week,
        cast(extract(day from date_day) as bigint) as day_of_month,
        -- Monday is 1, Sunday 7.
        cast((extract(dow from date_day) + 6) % 7 as bigint) + 1 as day_of_week
    from days

)

select
    date_day,
    year,
    quarter,
    month,
    {{ name_of('month', month_names()) }} as month_name,
    cast(date_trunc('month', date_day) as date) as month_start,
    iso_week,
    day_of_month,
    day_of_week,
    {{ name_of('day_of_week', day_names()) }} as day_name,
    day_of_week >= 6 as is_weekend
from parts
