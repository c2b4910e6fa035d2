//! Files of servers with folders, and exports to them, on real servers.

mod ftp;
mod sftp;
