-- Made-up rows with the columns that the models name.
copy (select
  case when i % 19 = 6 then null when i % 5 = 2 then ' ï»¿locationG ' || (i % 7) else 'Ï-' || (i % 11) end as "ï»¿locationGroupIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' location.loc ' || (i % 7) else 'L-' || (i % 10) end as "location.locationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' locationGrou ' || (i % 7) else 'L-' || (i % 9) end as "locationGroupType",
  case when i % 19 = 6 then null when i % 5 = 2 then ' locationGrou ' || (i % 7) else 'L-' || (i % 12) end as "locationGroupName",
  case when i % 19 = 6 then null when i % 5 = 2 then ' sourceLink ' || (i % 7) else 'S-' || (i % 15) end as "sourceLink"
from range(1, 61) r(i)
) to 'data/LocationGroup_v1_clean.csv' (format csv, header);
copy (select
  case when i % 19 = 6 then null when i % 5 = 2 then ' shipment.shi ' || (i % 7) else 'S-' || (i % 13) end as "shipment.shipmentIdentifier",
  case when i % 17 = 3 then null else 1 + (i*12) % 50 end as "shipmentLineNumber",
  case when i % 19 = 6 then null when i % 5 = 2 then ' shipment.shi ' || (i % 7) else 'S-' || (i % 16) end as "shipment.shipmentType",
  case when i % 19 = 6 then null when i % 5 = 2 then ' order.orderI ' || (i % 7) else 'O-' || (i % 15) end as "order.orderIdentifier",
  case when i % 17 = 3 then null else 1 + (i*8) % 50 end as "orderLine.orderLineNumber",
  case when i % 19 = 6 then null when i % 5 = 2 then ' dateCreated ' || (i % 7) else 'D-' || (i % 16) end as "dateCreated",
  case when i % 17 = 3 then null else 1 + (i*7) % 50 end as "quantity",
  case when i % 19 = 6 then null when i % 5 = 2 then ' quantityUnit ' || (i % 7) else 'Q-' || (i % 8) end as "quantityUnits",
  case when i % 13 = 5 then null else round(((i*14) % 1000) / 8.0, 2) end::decimal(18,2) as "value",
  case when i % 13 = 5 then null else round(((i*88) % 1000) / 8.0, 2) end::decimal(18,2) as "valueCurrency"
from range(1, 61) r(i)
) to 'data/ShipmentLine_v3_clean.csv' (format csv, header);
copy (select
  case when i % 19 = 6 then null when i % 5 = 2 then ' ï»¿order.ord ' || (i % 7) else 'Ï-' || (i % 11) end as "ï»¿order.orderIdentifier",
  case when i % 17 = 3 then null else 1 + (i*8) % 50 end as "orderLine.orderLineNumber",
  case when i % 17 = 3 then null else 1 + (i*5) % 50 end as "productItem.partNumber",
  case when i % 19 = 6 then null when i % 5 = 2 then ' quantityRequ ' || (i % 7) else 'Q-' || (i % 13) end as "quantityRequired",
  case when i % 19 = 6 then null when i % 5 = 2 then ' quantityRequ ' || (i % 7) else 'Q-' || (i % 9) end as "quantityRequiredUnits",
  case when i % 19 = 6 then null when i % 5 = 2 then ' quantityAllo ' || (i % 7) else 'Q-' || (i % 13) end as "quantityAllocated",
  case when i % 19 = 6 then null when i % 5 = 2 then ' quantityAllo ' || (i % 7) else 'Q-' || (i % 9) end as "quantityAllocatedUnits",
  case when i % 19 = 6 then null when i % 5 = 2 then ' allocationCo ' || (i % 7) else 'A-' || (i % 16) end as "allocationComment",
  case when i % 19 = 6 then null when i % 5 = 2 then ' alternateIte ' || (i % 7) else 'A-' || (i % 11) end as "alternateItems",
  case when i % 19 = 6 then null when i % 5 = 2 then ' sourceLink ' || (i % 7) else 'S-' || (i % 15) end as "sourceLink"
from range(1, 61) r(i)
) to 'data/OrderAllocation_v1_clean.csv' (format csv, header);
copy (select
  case when i % 19 = 6 then null when i % 5 = 2 then ' ï»¿organizat ' || (i % 7) else 'Ï-' || (i % 12) end as "ï»¿organization.organizationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' orgType ' || (i % 7) else 'O-' || (i % 12) end as "orgType",
  case when i % 19 = 6 then null when i % 5 = 2 then ' location.loc ' || (i % 7) else 'L-' || (i % 10) end as "location.locationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' name ' || (i % 7) else 'N-' || (i % 11) end as "name",
  case when i % 19 = 6 then null when i % 5 = 2 then ' division ' || (i % 7) else 'D-' || (i % 13) end as "division",
  case when i % 19 = 6 then null when i % 5 = 2 then ' sourceLink ' || (i % 7) else 'S-' || (i % 15) end as "sourceLink"
from range(1, 61) r(i)
) to 'data/Organization_v2_clean.csv' (format csv, header);
copy (select
  case when i % 17 = 3 then null else 1 + (i*13) % 50 end as "partNumber",
  case when i % 19 = 6 then null when i % 5 = 2 then ' productType ' || (i % 7) else 'P-' || (i % 12) end as "productType",
  case when i % 19 = 6 then null when i % 5 = 2 then ' category.cod ' || (i % 7) else 'C-' || (i % 13) end as "category.code",
  case when i % 19 = 6 then null when i % 5 = 2 then ' brand.code ' || (i % 7) else 'B-' || (i % 12) end as "brand.code",
  case when i % 19 = 6 then null when i % 5 = 2 then ' family.code ' || (i % 7) else 'F-' || (i % 9) end as "family.code",
  case when i % 19 = 6 then null when i % 5 = 2 then ' line.code ' || (i % 7) else 'L-' || (i % 16) end as "line.code",
  case when i % 19 = 6 then null when i % 5 = 2 then ' segment.code ' || (i % 7) else 'S-' || (i % 14) end as "segment.code",
  case when i % 19 = 6 then null when i % 5 = 2 then ' status ' || (i % 7) else 'S-' || (i % 9) end as "status",
  case when i % 13 = 5 then null else round(((i*14) % 1000) / 8.0, 2) end::decimal(18,2) as "value",
  case when i % 13 = 5 then null else round(((i*88) % 1000) / 8.0, 2) end::decimal(18,2) as "valueCurrency",
  case when i % 19 = 6 then null when i % 5 = 2 then ' defaultQuant ' || (i % 7) else 'D-' || (i % 11) end as "defaultQuantityUnits",
  case when i % 19 = 6 then null when i % 5 = 2 then ' name ' || (i % 7) else 'N-' || (i % 11) end as "name",
  case when i % 19 = 6 then null when i % 5 = 2 then ' description ' || (i % 7) else 'D-' || (i % 8) end as "description",
  case when i % 19 = 6 then null when i % 5 = 2 then ' plannerCode ' || (i % 7) else 'P-' || (i % 10) end as "plannerCode",
  case when i % 19 = 6 then null when i % 5 = 2 then ' sourceLink ' || (i % 7) else 'S-' || (i % 15) end as "sourceLink"
from range(1, 61) r(i)
) to 'data/Product_v5_clean.csv' (format csv, header);
copy (select
  case when i % 17 = 3 then null else 1 + (i*4) % 50 end as "ï»¿product.partNumber",
  case when i % 19 = 6 then null when i % 5 = 2 then ' location.loc ' || (i % 7) else 'L-' || (i % 10) end as "location.locationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' inventoryTyp ' || (i % 7) else 'I-' || (i % 15) end as "inventoryType",
  case when i % 17 = 3 then null else 1 + (i*7) % 50 end as "quantity",
  case when i % 19 = 6 then null when i % 5 = 2 then ' quantityUnit ' || (i % 7) else 'Q-' || (i % 8) end as "quantityUnits",
  case when i % 13 = 5 then null else round(((i*14) % 1000) / 8.0, 2) end::decimal(18,2) as "value",
  case when i % 13 = 5 then null else round(((i*88) % 1000) / 8.0, 2) end::decimal(18,2) as "valueCurrency",
  case when i % 19 = 6 then null when i % 5 = 2 then ' reservationO ' || (i % 7) else 'R-' || (i % 11) end as "reservationOrders",
  case when i % 19 = 6 then null when i % 5 = 2 then ' daysOfSupply ' || (i % 7) else 'D-' || (i % 16) end as "daysOfSupply",
  case when i % 19 = 6 then null when i % 5 = 2 then ' shelfLife ' || (i % 7) else 'S-' || (i % 9) end as "shelfLife",
  case when i % 19 = 6 then null when i % 5 = 2 then ' reorderLevel ' || (i % 7) else 'R-' || (i % 12) end as "reorderLevel",
  case when i % 19 = 6 then null when i % 5 = 2 then ' expectedLead ' || (i % 7) else 'E-' || (i % 12) end as "expectedLeadTime",
  case when i % 19 = 6 then null when i % 5 = 2 then ' quantityUppe ' || (i % 7) else 'Q-' || (i % 11) end as "quantityUpperThreshold",
  case when i % 19 = 6 then null when i % 5 = 2 then ' quantityLowe ' || (i % 7) else 'Q-' || (i % 8) end as "quantityLowerThreshold",
  case when i % 19 = 6 then null when i % 5 = 2 then ' daysOfSupply ' || (i % 7) else 'D-' || (i % 15) end as "daysOfSupplyUpperThreshold",
  case when i % 19 = 6 then null when i % 5 = 2 then ' daysOfSupply ' || (i % 7) else 'D-' || (i % 12) end as "daysOfSupplyLowerThreshold",
  case when i % 19 = 6 then null when i % 5 = 2 then ' expiringThre ' || (i % 7) else 'E-' || (i % 15) end as "expiringThreshold",
  case when i % 19 = 6 then null when i % 5 = 2 then ' plannerCode ' || (i % 7) else 'P-' || (i % 10) end as "plannerCode",
  case when i % 19 = 6 then null when i % 5 = 2 then ' velocityCode ' || (i % 7) else 'V-' || (i % 11) end as "velocityCode",
  case when i % 19 = 6 then null when i % 5 = 2 then ' inventoryPar ' || (i % 7) else 'I-' || (i % 8) end as "inventoryParentType",
  case when i % 19 = 6 then null when i % 5 = 2 then ' class ' || (i % 7) else 'C-' || (i % 11) end as "class",
  case when i % 19 = 6 then null when i % 5 = 2 then ' segment ' || (i % 7) else 'S-' || (i % 16) end as "segment"
from range(1, 61) r(i)
) to 'data/Inventory_v2_clean.csv' (format csv, header);
copy (select
  case when i % 19 = 6 then null when i % 5 = 2 then ' ï»¿locationI ' || (i % 7) else 'Ï-' || (i % 12) end as "ï»¿locationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' locationType ' || (i % 7) else 'L-' || (i % 10) end as "locationType",
  case when i % 19 = 6 then null when i % 5 = 2 then ' locationName ' || (i % 7) else 'L-' || (i % 13) end as "locationName",
  case when i % 19 = 6 then null when i % 5 = 2 then ' address1 ' || (i % 7) else 'A-' || (i % 16) end as "address1",
  case when i % 19 = 6 then null when i % 5 = 2 then ' address2 ' || (i % 7) else 'A-' || (i % 8) end as "address2",
  case when i % 19 = 6 then null when i % 5 = 2 then ' city ' || (i % 7) else 'C-' || (i % 8) end as "city",
  case when i % 19 = 6 then null when i % 5 = 2 then ' postalCode ' || (i % 7) else 'P-' || (i % 16) end as "postalCode",
  case when i % 19 = 6 then null when i % 5 = 2 then ' stateProvinc ' || (i % 7) else 'S-' || (i % 10) end as "stateProvince",
  case when i % 19 = 6 then null when i % 5 = 2 then ' country ' || (i % 7) else 'C-' || (i % 13) end as "country",
  case when i % 19 = 6 then null when i % 5 = 2 then ' coordinates ' || (i % 7) else 'C-' || (i % 8) end as "coordinates",
  case when i % 13 = 5 then null else round(((i*12) % 1000) / 8.0, 2) end::decimal(18,2) as "includeInCorrelation",
  case when i % 19 = 6 then null when i % 5 = 2 then ' geo ' || (i % 7) else 'G-' || (i % 8) end as "geo",
  case when i % 19 = 6 then null when i % 5 = 2 then ' locationSubT ' || (i % 7) else 'L-' || (i % 16) end as "locationSubType",
  case when i % 19 = 6 then null when i % 5 = 2 then ' sourceLink ' || (i % 7) else 'S-' || (i % 15) end as "sourceLink"
from range(1, 61) r(i)
) to 'data/Location_v2_clean.csv' (format csv, header);
copy (select
  case when i % 17 = 3 then null else 1 + (i*3) % 50 end as "product.partNumber",
  case when i % 19 = 6 then null when i % 5 = 2 then ' location.loc ' || (i % 7) else 'L-' || (i % 10) end as "location.locationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' inventoryTyp ' || (i % 7) else 'I-' || (i % 15) end as "inventoryType",
  case when i % 17 = 3 then null else 1 + (i*7) % 50 end as "quantity",
  case when i % 19 = 6 then null when i % 5 = 2 then ' quantityUnit ' || (i % 7) else 'Q-' || (i % 8) end as "quantityUnits",
  date '2023-01-01' + ((i*15) % 700)::int as "expirationDate",
  case when i % 19 = 6 then null when i % 5 = 2 then ' inventoryPar ' || (i % 7) else 'I-' || (i % 8) end as "inventoryParentType",
  case when i % 19 = 6 then null when i % 5 = 2 then ' class ' || (i % 7) else 'C-' || (i % 11) end as "class",
  case when i % 19 = 6 then null when i % 5 = 2 then ' segment ' || (i % 7) else 'S-' || (i % 16) end as "segment",
  case when i % 19 = 6 then null when i % 5 = 2 then ' lotCode ' || (i % 7) else 'L-' || (i % 16) end as "lotCode",
  case when i % 19 = 6 then null when i % 5 = 2 then ' status ' || (i % 7) else 'S-' || (i % 9) end as "status",
  case when i % 13 = 5 then null else round(((i*14) % 1000) / 8.0, 2) end::decimal(18,2) as "value",
  case when i % 13 = 5 then null else round(((i*88) % 1000) / 8.0, 2) end::decimal(18,2) as "valueCurrency",
  case when i % 19 = 6 then null when i % 5 = 2 then ' sourceLink ' || (i % 7) else 'S-' || (i % 15) end as "sourceLink",
  date '2023-01-01' + ((i*26) % 700)::int as "storageDate"
from range(1, 61) r(i)
) to 'data/InventoryLot_v3_clean.csv' (format csv, header);
copy (select
  case when i % 19 = 6 then null when i % 5 = 2 then ' orderIdentif ' || (i % 7) else 'O-' || (i % 14) end as "orderIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' orderType ' || (i % 7) else 'O-' || (i % 8) end as "orderType",
  case when i % 19 = 6 then null when i % 5 = 2 then ' vendor.organ ' || (i % 7) else 'V-' || (i % 8) end as "vendor.organizationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' buyer.organi ' || (i % 7) else 'B-' || (i % 13) end as "buyer.organizationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' shipFromInst ' || (i % 7) else 'S-' || (i % 12) end as "shipFromInstructionLocation.locationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' shipToLocati ' || (i % 7) else 'S-' || (i % 16) end as "shipToLocation.locationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' orderStatus ' || (i % 7) else 'O-' || (i % 9) end as "orderStatus",
  timestamp '2023-01-01 08:30:15' + to_hours(((i*67) % 9000)::int) as "createdDate",
  date '2023-01-01' + ((i*16) % 700)::int as "requestedShipDate",
  date '2023-01-01' + ((i*11) % 700)::int as "requestedDeliveryDate",
  date '2023-01-01' + ((i*6) % 700)::int as "plannedShipDate",
  date '2023-01-01' + ((i*24) % 700)::int as "plannedDeliveryDate",
  case when i % 17 = 3 then null else 1 + (i*7) % 50 end as "quantity",
  case when i % 19 = 6 then null when i % 5 = 2 then ' quantityUnit ' || (i % 7) else 'Q-' || (i % 8) end as "quantityUnits",
  case when i % 13 = 5 then null else round(((i*28) % 1000) / 8.0, 2) end::decimal(18,2) as "totalValue",
  case when i % 13 = 5 then null else round(((i*94) % 1000) / 8.0, 2) end::decimal(18,2) as "orderValueCurrency",
  case when i % 19 = 6 then null when i % 5 = 2 then ' lineCount ' || (i % 7) else 'L-' || (i % 13) end as "lineCount",
  case when i % 13 = 5 then null else round(((i*63) % 1000) / 8.0, 2) end::decimal(18,2) as "totalShippedQuantity",
  case when i % 19 = 6 then null when i % 5 = 2 then ' exclude ' || (i % 7) else 'E-' || (i % 16) end as "exclude",
  case when i % 19 = 6 then null when i % 5 = 2 then ' sourceLink ' || (i % 7) else 'S-' || (i % 15) end as "sourceLink"
from range(1, 61) r(i)
) to 'data/Order_v3_clean.csv' (format csv, header);
copy (select
  case when i % 17 = 3 then null else 1 + (i*4) % 50 end as "ï»¿product.partNumber",
  case when i % 19 = 6 then null when i % 5 = 2 then ' location.loc ' || (i % 7) else 'L-' || (i % 10) end as "location.locationIdentifier",
  date '2023-01-01' + ((i*11) % 700)::int as "startDate",
  case when i % 19 = 6 then null when i % 5 = 2 then ' duration ' || (i % 7) else 'D-' || (i % 14) end as "duration",
  case when i % 19 = 6 then null when i % 5 = 2 then ' planParentTy ' || (i % 7) else 'P-' || (i % 14) end as "planParentType",
  case when i % 19 = 6 then null when i % 5 = 2 then ' planType ' || (i % 7) else 'P-' || (i % 12) end as "planType",
  case when i % 17 = 3 then null else 1 + (i*7) % 50 end as "quantity",
  case when i % 19 = 6 then null when i % 5 = 2 then ' quantityUnit ' || (i % 7) else 'Q-' || (i % 8) end as "quantityUnits",
  case when i % 19 = 6 then null when i % 5 = 2 then ' planningCycl ' || (i % 7) else 'P-' || (i % 14) end as "planningCycle",
  case when i % 19 = 6 then null when i % 5 = 2 then ' source ' || (i % 7) else 'S-' || (i % 8) end as "source",
  case when i % 19 = 6 then null when i % 5 = 2 then ' sourceLink ' || (i % 7) else 'S-' || (i % 15) end as "sourceLink"
from range(1, 61) r(i)
) to 'data/DemandPlan_v1_clean.csv' (format csv, header);
copy (select
  case when i % 19 = 6 then null when i % 5 = 2 then ' orderIdentif ' || (i % 7) else 'O-' || (i % 14) end as "orderIdentifier",
  case when i % 17 = 3 then null else 1 + (i*10) % 50 end as "orderLineNumber",
  case when i % 19 = 6 then null when i % 5 = 2 then ' orderType ' || (i % 7) else 'O-' || (i % 8) end as "orderType",
  case when i % 17 = 3 then null else 1 + (i*3) % 50 end as "product.partNumber",
  case when i % 19 = 6 then null when i % 5 = 2 then ' shipFromInst ' || (i % 7) else 'S-' || (i % 12) end as "shipFromInstructionLocation.locationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' shipToLocati ' || (i % 7) else 'S-' || (i % 16) end as "shipToLocation.locationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' status ' || (i % 7) else 'S-' || (i % 9) end as "status",
  timestamp '2023-01-01 08:30:15' + to_hours(((i*67) % 9000)::int) as "createdDate",
  date '2023-01-01' + ((i*16) % 700)::int as "requestedShipDate",
  date '2023-01-01' + ((i*11) % 700)::int as "requestedDeliveryDate",
  case when i % 17 = 3 then null else 1 + (i*7) % 50 end as "quantity",
  case when i % 19 = 6 then null when i % 5 = 2 then ' quantityUnit ' || (i % 7) else 'Q-' || (i % 8) end as "quantityUnits",
  case when i % 13 = 5 then null else round(((i*71) % 1000) / 8.0, 2) end::decimal(18,2) as "productValue",
  case when i % 13 = 5 then null else round(((i*14) % 1000) / 8.0, 2) end::decimal(18,2) as "value",
  case when i % 13 = 5 then null else round(((i*88) % 1000) / 8.0, 2) end::decimal(18,2) as "valueCurrency",
  case when i % 19 = 6 then null when i % 5 = 2 then ' shipmentCoun ' || (i % 7) else 'S-' || (i % 11) end as "shipmentCount"
from range(1, 61) r(i)
) to 'data/OrderLine_v4_clean.csv' (format csv, header);
copy (select
  case when i % 19 = 6 then null when i % 5 = 2 then ' ï»¿levelType ' || (i % 7) else 'Ï-' || (i % 9) end as "ï»¿levelType",
  case when i % 19 = 6 then null when i % 5 = 2 then ' code ' || (i % 7) else 'C-' || (i % 14) end as "code",
  case when i % 19 = 6 then null when i % 5 = 2 then ' catalogType ' || (i % 7) else 'C-' || (i % 10) end as "catalogType",
  case when i % 19 = 6 then null when i % 5 = 2 then ' name ' || (i % 7) else 'N-' || (i % 11) end as "name",
  case when i % 19 = 6 then null when i % 5 = 2 then ' description ' || (i % 7) else 'D-' || (i % 8) end as "description",
  case when i % 19 = 6 then null when i % 5 = 2 then ' sourceLink ' || (i % 7) else 'S-' || (i % 15) end as "sourceLink"
from range(1, 61) r(i)
) to 'data/Catalog_v2_clean.csv' (format csv, header);
copy (select
  case when i % 19 = 6 then null when i % 5 = 2 then ' shipmentIden ' || (i % 7) else 'S-' || (i % 13) end as "shipmentIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' shipmentType ' || (i % 7) else 'S-' || (i % 16) end as "shipmentType",
  case when i % 19 = 6 then null when i % 5 = 2 then ' shipFromLoca ' || (i % 7) else 'S-' || (i % 9) end as "shipFromLocation.locationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' shipToLocati ' || (i % 7) else 'S-' || (i % 16) end as "shipToLocation.locationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' vendor.organ ' || (i % 7) else 'V-' || (i % 8) end as "vendor.organizationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' buyer.organi ' || (i % 7) else 'B-' || (i % 13) end as "buyer.organizationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' carrier.orga ' || (i % 7) else 'C-' || (i % 8) end as "carrier.organizationIdentifier",
  case when i % 19 = 6 then null when i % 5 = 2 then ' status ' || (i % 7) else 'S-' || (i % 9) end as "status",
  case when i % 19 = 6 then null when i % 5 = 2 then ' dateCreated ' || (i % 7) else 'D-' || (i % 16) end as "dateCreated",
  case when i % 19 = 6 then null when i % 5 = 2 then ' requestedTim ' || (i % 7) else 'R-' || (i % 16) end as "requestedTimeOfArrival",
  case when i % 19 = 6 then null when i % 5 = 2 then ' committedTim ' || (i % 7) else 'C-' || (i % 13) end as "committedTimeOfArrival",
  date '2023-01-01' + ((i*17) % 700)::int as "actualShipDate",
  case when i % 19 = 6 then null when i % 5 = 2 then ' estimatedTim ' || (i % 7) else 'E-' || (i % 16) end as "estimatedTimeOfArrival",
  case when i % 19 = 6 then null when i % 5 = 2 then ' revisedEstim ' || (i % 7) else 'R-' || (i % 14) end as "revisedEstimatedTimeOfArrival",
  case when i % 19 = 6 then null when i % 5 = 2 then ' predictedTim ' || (i % 7) else 'P-' || (i % 13) end as "predictedTimeOfArrival",
  case when i % 19 = 6 then null when i % 5 = 2 then ' actualTimeOf ' || (i % 7) else 'A-' || (i % 14) end as "actualTimeOfArrival",
  case when i % 19 = 6 then null when i % 5 = 2 then ' lineCount ' || (i % 7) else 'L-' || (i % 13) end as "lineCount",
  case when i % 13 = 5 then null else round(((i*32) % 1000) / 8.0, 2) end::decimal(18,2) as "weight",
  case when i % 13 = 5 then null else round(((i*61) % 1000) / 8.0, 2) end::decimal(18,2) as "weightUnits",
  case when i % 19 = 6 then null when i % 5 = 2 then ' currentLocat ' || (i % 7) else 'C-' || (i % 16) end as "currentLocationCoordinates",
  case when i % 19 = 6 then null when i % 5 = 2 then ' currentRegio ' || (i % 7) else 'C-' || (i % 10) end as "currentRegion",
  case when i % 19 = 6 then null when i % 5 = 2 then ' transportMod ' || (i % 7) else 'T-' || (i % 12) end as "transportMode",
  case when i % 19 = 6 then null when i % 5 = 2 then ' houseAirwayB ' || (i % 7) else 'H-' || (i % 8) end as "houseAirwayBill",
  case when i % 17 = 3 then null else 1 + (i*11) % 50 end as "parcelTrackingNumber",
  case when i % 17 = 3 then null else 1 + (i*10) % 50 end as "airwayMasterNumber",
  case when i % 17 = 3 then null else 1 + (i*4) % 50 end as "billOfLadingNumber",
  case when i % 17 = 3 then null else 1 + (i*10) % 50 end as "proNumber",
  case when i % 19 = 6 then null when i % 5 = 2 then ' manifest ' || (i % 7) else 'M-' || (i % 8) end as "manifest",
  case when i % 19 = 6 then null when i % 5 = 2 then ' exclude ' || (i % 7) else 'E-' || (i % 16) end as "exclude",
  case when i % 19 = 6 then null when i % 5 = 2 then ' sourceLink ' || (i % 7) else 'S-' || (i % 15) end as "sourceLink"
from range(1, 61) r(i)
) to 'data/Shipment_v4_clean.csv' (format csv, header);
copy (select
  case when i % 17 = 3 then null else 1 + (i*4) % 50 end as "ï»¿product.partNumber",
  case when i % 19 = 6 then null when i % 5 = 2 then ' location.loc ' || (i % 7) else 'L-' || (i % 10) end as "location.locationIdentifier",
  date '2023-01-01' + ((i*11) % 700)::int as "startDate",
  case when i % 19 = 6 then null when i % 5 = 2 then ' duration ' || (i % 7) else 'D-' || (i % 14) end as "duration",
  case when i % 19 = 6 then null when i % 5 = 2 then ' planParentTy ' || (i % 7) else 'P-' || (i % 14) end as "planParentType",
  case when i % 19 = 6 then null when i % 5 = 2 then ' planType ' || (i % 7) else 'P-' || (i % 12) end as "planType",
  case when i % 17 = 3 then null else 1 + (i*7) % 50 end as "quantity",
  case when i % 19 = 6 then null when i % 5 = 2 then ' quantityUnit ' || (i % 7) else 'Q-' || (i % 8) end as "quantityUnits",
  case when i % 19 = 6 then null when i % 5 = 2 then ' planningCycl ' || (i % 7) else 'P-' || (i % 14) end as "planningCycle",
  case when i % 19 = 6 then null when i % 5 = 2 then ' source ' || (i % 7) else 'S-' || (i % 8) end as "source",
  case when i % 19 = 6 then null when i % 5 = 2 then ' sourceLink ' || (i % 7) else 'S-' || (i % 15) end as "sourceLink"
from range(1, 61) r(i)
) to 'data/SupplyPlan_v1_clean.csv' (format csv, header);
