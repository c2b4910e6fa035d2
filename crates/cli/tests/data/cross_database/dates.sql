select id,
{% for part in ['day', 'week', 'month', 'quarter', 'year'] %}
  {{ dbt.dateadd(part, 1, 'd') }} as add_{{ part }},
  {{ dbt.dateadd(datepart=part, interval=-2, from_date_or_timestamp='ts') }} as ago_{{ part }},
  {{ dbt.dateadd(part, 'id', 'ts') }} as by_{{ part }},
  {{ dbt.datediff('d', "cast('2024-07-04' as date)", part) }} as diff_{{ part }},
  {{ dbt.datediff("cast('2025-02-01 08:00:00' as timestamp)", 'ts', part) }} as back_{{ part }},
  {{ dbt.date_trunc(part, 'ts') }} as trunc_{{ part }},
  {{ dbt.date_trunc(part, 'd') }} as truncd_{{ part }},
{% endfor %}
{% for part in ['hour', 'minute', 'second'] %}
  {{ dbt.dateadd(part, 5, 'ts') }} as add_{{ part }},
  {{ dbt.dateadd(part, 5, 'd') }} as addd_{{ part }},
  {{ dbt.datediff('ts', "cast('2024-07-04 09:00:00' as timestamp)", part) }} as diff_{{ part }},
  {{ dbt.datediff('d', 'ts', part) }} as diffd_{{ part }},
  {{ dbt.date_trunc(part, 'ts') }} as trunc_{{ part }},
{% endfor %}
  {{ dbt.last_day('d', 'month') }} as last_month,
  {{ dbt.last_day('ts', 'quarter') }} as last_quarter,
  {{ dbt.last_day('d', 'year') }} as last_year,
  {{ dbt.date(2024, 2, 29) }} as made,
  {{ dbt.current_timestamp() }} is not null as now_there,
  {{ dbt.current_timestamp_backcompat() }} is not null as now_back,
  {{ dbt.current_timestamp_in_utc_backcompat() }} is not null as now_utc,
  {{ dbt.snapshot_get_time() }} is not null as snap,
  cast({{ dbt.dateadd('day', 1, dbt.date_trunc('month', 'd')) }} as date) as nested
from {{ ref('texts') }}
