{{ config(materialized='ephemeral', meta={'tier': 1}) }}
select 1 as order_id, 10 as amount
