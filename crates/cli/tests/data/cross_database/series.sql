select 'series' as what, cast(generated_number as bigint) as n, cast(null as date) as d from ({{ dbt.generate_series(12) }}) s
union all
select 'spine', null, cast(date_day as date) from ({{ dbt.date_spine('day', "cast('2024-02-27' as date)", "cast('2024-03-02' as date)") }}) s
union all
select 'months', null, cast(date_month as date) from ({{ dbt.date_spine(datepart='month', start_date="cast('2024-01-15' as date)", end_date="cast('2024-06-01' as date)") }}) s
union all
select 'powers', {{ dbt.get_powers_of_two(100) }}, null
union all
select 'between', {{ dbt.get_intervals_between("cast('2024-01-01' as date)", "cast('2024-03-01' as date)", 'month') if execute else 0 }}, null
