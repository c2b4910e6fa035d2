create schema if not exists public;
create or replace table public.actor as select
  i + 1 as actor_id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 9346) % 6)::int] || ' ' || (i % 17) as first_name,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 964) % 6)::int] || ' ' || (i % 17) as last_name,
  date '2023-01-01' + (hash(i * 31 + 8838) % 700)::int as last_update,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 1171) % 6)::int] || ' ' || (i % 17) as actor_name,
  timestamp '2023-01-01' + to_seconds((hash(i * 31 + 877) % 60000000)::bigint) as actor_last_updated_at
from range(60) t(i);
create schema if not exists public;
create or replace table public.address as select
  i + 1 as address_id,
  'address ' || (hash(i * 31 + 8529) % 12) as address,
  'district ' || (hash(i * 31 + 3598) % 12) as district,
  1 + (hash(i * 31 + 4588) % 60)::int as city_id,
  'postal_code ' || (hash(i * 31 + 3904) % 12) as postal_code,
  date '2023-01-01' + (hash(i * 31 + 8838) % 700)::int as last_update
from range(60) t(i);
create schema if not exists public;
create or replace table public.category as select
  i + 1 as category_id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 208) % 6)::int] || ' ' || (i % 17) as name,
  date '2023-01-01' + (hash(i * 31 + 8838) % 700)::int as last_update
from range(60) t(i);
create schema if not exists public;
create or replace table public.city as select
  i + 1 as city_id,
  'city ' || (hash(i * 31 + 9133) % 12) as city,
  1 + (hash(i * 31 + 1198) % 60)::int as country_id,
  date '2023-01-01' + (hash(i * 31 + 8838) % 700)::int as last_update
from range(60) t(i);
create schema if not exists public;
create or replace table public.country as select
  i + 1 as country_id,
  (['Germany', 'France', 'USA', 'UK', 'Brazil'])[1 + (hash(i * 31 + 7602) % 5)::int] as country,
  date '2023-01-01' + (hash(i * 31 + 8838) % 700)::int as last_update
from range(60) t(i);
create schema if not exists public;
create or replace table public.customer as select
  i + 1 as customer_id,
  1 + (hash(i * 31 + 1431) % 60)::int as store_id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 9346) % 6)::int] || ' ' || (i % 17) as first_name,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 964) % 6)::int] || ' ' || (i % 17) as last_name,
  'user' || (hash(i * 31 + 5267) % 97) || '@example' || (i % 3) || '.com' as email,
  1 + (hash(i * 31 + 6672) % 60)::int as address_id,
  'activebool ' || (hash(i * 31 + 8262) % 12) as activebool,
  date '2023-01-01' + (hash(i * 31 + 6980) % 700)::int as create_date,
  date '2023-01-01' + (hash(i * 31 + 8838) % 700)::int as last_update,
  'active ' || (hash(i * 31 + 3865) % 12) as active
from range(60) t(i);
create schema if not exists public;
create or replace table public.rental as select
  i + 1 as rental_id,
  date '2023-01-01' + (hash(i * 31 + 4264) % 700)::int as rental_date,
  1 + (hash(i * 31 + 6469) % 60)::int as inventory_id,
  1 + (hash(i * 31 + 9231) % 60)::int as customer_id,
  date '2023-01-01' + (hash(i * 31 + 4321) % 700)::int as return_date,
  1 + (hash(i * 31 + 6736) % 60)::int as staff_id,
  date '2023-01-01' + (hash(i * 31 + 8838) % 700)::int as last_update
from range(60) t(i);
create schema if not exists public;
create or replace table public.staff as select
  i + 1 as staff_id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 9346) % 6)::int] || ' ' || (i % 17) as first_name,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 964) % 6)::int] || ' ' || (i % 17) as last_name,
  1 + (hash(i * 31 + 6672) % 60)::int as address_id,
  'user' || (hash(i * 31 + 5267) % 97) || '@example' || (i % 3) || '.com' as email,
  1 + (hash(i * 31 + 1431) % 60)::int as store_id,
  'active ' || (hash(i * 31 + 3865) % 12) as active,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 2720) % 6)::int] || ' ' || (i % 17) as username,
  'password ' || (hash(i * 31 + 6337) % 12) as password,
  date '2023-01-01' + (hash(i * 31 + 8838) % 700)::int as last_update,
  'picture ' || (hash(i * 31 + 9647) % 12) as picture
from range(60) t(i);
create schema if not exists public;
create or replace table public.store as select
  i + 1 as store_id,
  1 + (hash(i * 31 + 1696) % 60)::int as manager_staff_id,
  1 + (hash(i * 31 + 6672) % 60)::int as address_id,
  date '2023-01-01' + (hash(i * 31 + 8838) % 700)::int as last_update
from range(60) t(i);
