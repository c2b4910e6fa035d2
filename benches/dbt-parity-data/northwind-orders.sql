create schema if not exists public;
create or replace table public.orders as select
  i + 1 as order_id,
  date '2023-01-01' + (hash(i * 31 + 6793) % 700)::int as order_date
from range(60) t(i);
create schema if not exists public;
create or replace table public.order_details as select
  1 + (hash(i * 31 + 8282) % 60)::int as order_id,
  ((hash(i * 31 + 3586) % 100000) / 100)::decimal(10,2) as unit_price,
  (hash(i * 31 + 3357) % 100)::int as quantity,
  ((hash(i * 31 + 9353) % 100000) / 100)::decimal(10,2) as discount
from range(60) t(i);
