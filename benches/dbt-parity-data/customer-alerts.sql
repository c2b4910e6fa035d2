-- Made-up rows with the columns that the models name.
create schema if not exists "default";
create or replace table "default"."stg_customers" as select
  i as "customer_id",
  case when i % 19 = 6 then null when i % 5 = 2 then ' customer_nam ' || (i % 7) else 'C-' || (i % 16) end as "customer_name",
  case when i % 19 = 6 then null when i % 5 = 2 then ' region ' || (i % 7) else 'R-' || (i % 13) end as "region"
from range(1, 61) r(i);
create schema if not exists "default";
create or replace table "default"."stg_orders" as select
  1 + (i*7) % 40 as "customer_id",
  case when i % 13 = 5 then null else round(((i*56) % 1000) / 8.0, 2) end::decimal(18,2) as "order_amount",
  (['completed','pending','cancelled'])[1 + (i*7+1)::int % 3] as "order_status",
  date '2023-01-01' + ((i*19) % 700)::int as "order_date"
from range(1, 61) r(i);
