create table customers as select * from read_csv('dataset/customers.csv', delim = ';', header = true, ignore_errors = true);
create table employees as select * from read_csv('dataset/employees.csv', delim = ';', header = true, ignore_errors = true);
create table offices as select * from read_csv('dataset/offices.csv', delim = ';', header = true, ignore_errors = true);
create table orders as select * from read_csv('dataset/orders.csv', delim = ';', header = true, ignore_errors = true);
create table payments as select * from read_csv('dataset/payments.csv', delim = ';', header = true, ignore_errors = true);
create table products as select * from read_csv('dataset/products.csv', delim = ';', header = true, ignore_errors = true);
create table productlines as select * from read_csv('dataset/productlines.csv', delim = ';', header = true, ignore_errors = true);
create table orderdetails as select * from read_csv('dataset/orderdetails.csv', delim = ';', header = true, ignore_errors = true);
