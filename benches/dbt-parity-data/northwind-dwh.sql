create schema if not exists public;
create or replace table public.customers as select
  i + 1 as customer_id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 8004) % 6)::int] || ' ' || (i % 17) as company_name,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 3062) % 6)::int] || ' ' || (i % 17) as contact_name,
  'contact_title ' || (hash(i * 31 + 2588) % 12) as contact_title,
  'city ' || (hash(i * 31 + 9133) % 12) as city,
  (['Germany', 'France', 'USA', 'UK', 'Brazil'])[1 + (hash(i * 31 + 7602) % 5)::int] as country,
  '555-01' || lpad((hash(i * 31 + 9641) % 100)::varchar, 2, '0') as phone
from range(60) t(i);
create schema if not exists public;
create or replace table public.orders as select
  i + 1 as order_id,
  1 + (hash(i * 31 + 9231) % 60)::int as customer_id,
  1 + (hash(i * 31 + 8270) % 60)::int as employee_id,
  'ship_via ' || (hash(i * 31 + 6520) % 12) as ship_via,
  'ship_city ' || (hash(i * 31 + 2193) % 12) as ship_city,
  (['Germany', 'France', 'USA', 'UK', 'Brazil'])[1 + (hash(i * 31 + 6225) % 5)::int] as ship_country,
  ((hash(i * 31 + 636) % 100000) / 100)::decimal(10,2) as freight,
  date '2023-01-01' + (hash(i * 31 + 6793) % 700)::int as order_date,
  date '2023-01-01' + (hash(i * 31 + 7948) % 700)::int as required_date,
  date '2023-01-01' + (hash(i * 31 + 4879) % 700)::int as shipped_date
from range(60) t(i);
create schema if not exists public;
create or replace table public.order_details as select
  1 + (hash(i * 31 + 8282) % 60)::int as order_id,
  1 + (hash(i * 31 + 2400) % 60)::int as product_id,
  ((hash(i * 31 + 3586) % 100000) / 100)::decimal(10,2) as unit_price,
  (hash(i * 31 + 3357) % 100)::int as quantity,
  ((hash(i * 31 + 9353) % 100000) / 100)::decimal(10,2) as discount
from range(60) t(i);
create schema if not exists public;
create or replace table public.products as select
  i + 1 as product_id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 41) % 6)::int] || ' ' || (i % 17) as product_name,
  1 + (hash(i * 31 + 1542) % 60)::int as supplier_id,
  1 + (hash(i * 31 + 7914) % 60)::int as category_id,
  ((hash(i * 31 + 3586) % 100000) / 100)::decimal(10,2) as unit_price,
  (hash(i * 31 + 8275) % 100)::int as units_in_stock,
  (hash(i * 31 + 7902) % 100)::int as units_on_order,
  'discontinued ' || (hash(i * 31 + 8234) % 12) as discontinued
from range(60) t(i);
create schema if not exists public;
create or replace table public.categories as select
  1 + (hash(i * 31 + 7914) % 60)::int as category_id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 4058) % 6)::int] || ' ' || (i % 17) as category_name,
  'description ' || (hash(i * 31 + 6556) % 12) as description
from range(60) t(i);
create schema if not exists public;
create or replace table public.suppliers as select
  i + 1 as supplier_id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 8004) % 6)::int] || ' ' || (i % 17) as company_name,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 3062) % 6)::int] || ' ' || (i % 17) as contact_name,
  'city ' || (hash(i * 31 + 9133) % 12) as city,
  (['Germany', 'France', 'USA', 'UK', 'Brazil'])[1 + (hash(i * 31 + 7602) % 5)::int] as country,
  '555-01' || lpad((hash(i * 31 + 9641) % 100)::varchar, 2, '0') as phone
from range(60) t(i);
create schema if not exists public;
create or replace table public.employees as select
  i + 1 as employee_id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 9346) % 6)::int] || ' ' || (i % 17) as first_name,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 964) % 6)::int] || ' ' || (i % 17) as last_name,
  'title ' || (hash(i * 31 + 2824) % 12) as title,
  date '2023-01-01' + (hash(i * 31 + 6954) % 700)::int as hire_date,
  'city ' || (hash(i * 31 + 9133) % 12) as city,
  (['Germany', 'France', 'USA', 'UK', 'Brazil'])[1 + (hash(i * 31 + 7602) % 5)::int] as country
from range(60) t(i);
create schema if not exists public;
create or replace table public.shippers as select
  i + 1 as shipper_id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 8004) % 6)::int] || ' ' || (i % 17) as company_name,
  '555-01' || lpad((hash(i * 31 + 9641) % 100)::varchar, 2, '0') as phone
from range(60) t(i);
