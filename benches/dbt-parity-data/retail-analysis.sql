create schema if not exists l1_landing;
create or replace table l1_landing.customers as select
  i + 1 as customerid,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 3300) % 6)::int] || ' ' || (i % 17) as firstname,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 1542) % 6)::int] || ' ' || (i % 17) as lastname,
  'user' || (hash(i * 31 + 5267) % 97) || '@example' || (i % 3) || '.com' as email,
  '555-01' || lpad((hash(i * 31 + 9641) % 100)::varchar, 2, '0') as phone,
  'address ' || (hash(i * 31 + 8529) % 12) as address,
  'city ' || (hash(i * 31 + 9133) % 12) as city,
  'state ' || (hash(i * 31 + 3871) % 12) as state,
  'zipcode ' || (hash(i * 31 + 3159) % 12) as zipcode,
  timestamp '2023-01-01' + to_seconds((hash(i * 31 + 633) % 60000000)::bigint) as updated_at
from range(60) t(i);
create schema if not exists l1_landing;
create or replace table l1_landing.orders as select
  i + 1 as orderid,
  date '2023-01-01' + (hash(i * 31 + 1743) % 700)::int as orderdate,
  1 + (hash(i * 31 + 165) % 60)::int as customerid,
  1 + (hash(i * 31 + 1322) % 60)::int as employeeid,
  1 + (hash(i * 31 + 6608) % 60)::int as storeid,
  (['01', '02', '03', 'Cancelled', 'Completed', 'In Progress'])[1 + (hash(i * 31 + 319) % 6)::int] as status,
  timestamp '2023-01-01' + to_seconds((hash(i * 31 + 633) % 60000000)::bigint) as updated_at
from range(60) t(i);
create schema if not exists l1_landing;
create or replace table l1_landing.orderitems as select
  1 + (hash(i * 31 + 7527) % 60)::int as orderid,
  i + 1 as orderitemid,
  1 + (hash(i * 31 + 1203) % 60)::int as productid,
  (hash(i * 31 + 3357) % 100)::int as quantity,
  ((hash(i * 31 + 2972) % 100000) / 100)::decimal(10,2) as unitprice,
  timestamp '2023-01-01' + to_seconds((hash(i * 31 + 633) % 60000000)::bigint) as updated_at
from range(60) t(i);
