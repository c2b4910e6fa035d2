{{ config(tags=['nightly'], meta={'owner': 'ann', 'pii': true, 'level': 2, 'teams': ['a', 'b']}) }}
select id as customer_id, name from {{ ref('raw_customers') }}
