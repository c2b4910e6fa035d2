-- Made-up rows with the columns that the models name.
create schema if not exists "raw";
create or replace table "raw"."ecommerce" as select
  case when i % 19 = 6 then null when i % 5 = 2 then ' StockCode ' || (i % 7) else 'S-' || (i % 13) end as "StockCode",
  case when i % 19 = 6 then null when i % 5 = 2 then ' Description ' || (i % 7) else 'D-' || (i % 8) end as "Description",
  date '2023-01-01' + ((i*18) % 700)::int as "InvoiceDate",
  1 + (i*3) % 40 as "CustomerID",
  case when i % 19 = 6 then null when i % 5 = 2 then ' Country ' || (i % 7) else 'C-' || (i % 13) end as "Country",
  case when i % 19 = 6 then null when i % 5 = 2 then ' InvoiceNo ' || (i % 7) else 'I-' || (i % 15) end as "InvoiceNo",
  case when i % 17 = 3 then null else 1 + (i*7) % 50 end as "Quantity",
  case when i % 13 = 5 then null else round(((i*7) % 1000) / 8.0, 2) end::decimal(18,2) as "UnitPrice"
from range(1, 61) r(i);
