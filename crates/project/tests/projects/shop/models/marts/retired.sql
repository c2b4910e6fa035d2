{{ config(enabled=false) }}
select * from {{ ref('nothing_at_all') }}
