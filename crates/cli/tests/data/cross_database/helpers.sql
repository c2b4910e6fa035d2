{% set days = dbt.dates_in_range('20240227', '20240302') %}
{% set range = dbt.partition_range('20240101,20240103') %}
select '{{ days | join(",") }}' as days, '{{ range | join(",") }}' as parts, '{{ dbt.convert_datetime("20240227", "%Y%m%d") }}' as dt,
  '{{ dbt.partition_range("20240105") | join(",") }}' as one, '{{ dbt.dates_in_range("2024-01-01", "2024-01-03", "%Y-%m-%d", "%d.%m.") | join(" ") }}' as fmt
