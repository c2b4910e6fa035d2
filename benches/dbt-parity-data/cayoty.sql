create schema if not exists cayoty;
create or replace table cayoty.customers as select
  i + 1 as "CUSTOMERID",
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 3300) % 6)::int] || ' ' || (i % 17) as "FIRSTNAME",
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 1542) % 6)::int] || ' ' || (i % 17) as "LASTNAME",
  'user' || (hash(i * 31 + 5267) % 97) || '@example' || (i % 3) || '.com' as email,
  '555-01' || lpad((hash(i * 31 + 9641) % 100)::varchar, 2, '0') as phone,
  'address ' || (hash(i * 31 + 8529) % 12) as address,
  'city ' || (hash(i * 31 + 9133) % 12) as city,
  'state ' || (hash(i * 31 + 3871) % 12) as state,
  'zipcode ' || (hash(i * 31 + 3159) % 12) as zipcode,
  'updatedat ' || (hash(i * 31 + 8210) % 12) as updatedat
from range(60) t(i);
create schema if not exists cayoty;
create or replace table cayoty.employees as select
  i + 1 as id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 208) % 6)::int] || ' ' || (i % 17) as name
from range(60) t(i);
create schema if not exists cayoty;
create or replace table cayoty.orders as select
  i + 1 as "ORDERID",
  1 + (hash(i * 31 + 165) % 60)::int as "CUSTOMERID",
  date '2023-01-01' + (hash(i * 31 + 1743) % 700)::int as orderdate,
  1 + (hash(i * 31 + 1322) % 60)::int as employeeid,
  1 + (hash(i * 31 + 6608) % 60)::int as storeid,
  (['01', '02', '03', 'Pending'])[1 + (hash(i * 31 + 319) % 4)::int] as status,
  'updatedat ' || (hash(i * 31 + 8210) % 12) as updatedat
from range(60) t(i);
create schema if not exists cayoty;
create or replace table cayoty.orderitems as select
  i + 1 as orderitemid,
  1 + (hash(i * 31 + 7527) % 60)::int as orderid,
  1 + (hash(i * 31 + 1203) % 60)::int as productid,
  (hash(i * 31 + 3357) % 100)::int as quantity,
  ((hash(i * 31 + 2972) % 100000) / 100)::decimal(10,2) as unitprice,
  'updatedat ' || (hash(i * 31 + 8210) % 12) as updatedat
from range(60) t(i);
create schema if not exists cayoty;
create or replace table cayoty.products as select
  i + 1 as id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 208) % 6)::int] || ' ' || (i % 17) as name
from range(60) t(i);
create schema if not exists cayoty;
create or replace table cayoty.sales_target as select
  i + 1 as id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 208) % 6)::int] || ' ' || (i % 17) as name
from range(60) t(i);
create schema if not exists cayoty;
create or replace table cayoty.stores as select
  i + 1 as id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 208) % 6)::int] || ' ' || (i % 17) as name
from range(60) t(i);
create schema if not exists cayoty;
create or replace table cayoty.suppliers as select
  i + 1 as id,
  (['Alice', 'Bob', 'Carol', 'Dave Miller', 'Eve', 'Frank'])[1 + (hash(i * 31 + 208) % 6)::int] || ' ' || (i % 17) as name
from range(60) t(i);
