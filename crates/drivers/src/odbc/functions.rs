//! The functions of the manager, and the numbers of its interface.
#![allow(unsafe_code, reason = "functions in C are looked up here")]

use std::ffi::c_void;

use libloading::Library;

pub(super) type Raw = *mut c_void;
pub(super) type Wide = u16;

macro_rules! functions {
    ($($name:ident($($argument:ty),* $(,)?);)*) => {
        /// What is called of the library, which stays loaded as long.
        #[allow(non_snake_case)]
        pub(super) struct Functions {
            $(pub(super) $name: unsafe extern "system" fn($($argument),*) -> i16,)*
            _library: Library,
        }

        impl Functions {
            /// # Safety
            /// The library has the functions of ODBC 3 under their names.
            pub(super) unsafe fn of(library: Library) -> Result<Self, libloading::Error> {
                $(
                    // SAFETY: by the promise of the caller the function has this type.
                    #[allow(non_snake_case)]
                    let $name = *unsafe {
                        library.get::<unsafe extern "system" fn($($argument),*) -> i16>(
                            concat!(stringify!($name), "\0").as_bytes(),
                        )
                    }?;
                )*
                Ok(Functions { $($name,)* _library: library })
            }
        }
    };
}

functions! {
    SQLAllocHandle(i16, Raw, *mut Raw);
    SQLFreeHandle(i16, Raw);
    SQLSetEnvAttr(Raw, i32, Raw, i32);
    SQLDriversW(Raw, u16, *mut Wide, i16, *mut i16, *mut Wide, i16, *mut i16);
    SQLDriverConnectW(Raw, Raw, *const Wide, i16, *mut Wide, i16, *mut i16, u16);
    SQLDisconnect(Raw);
    SQLSetConnectAttrW(Raw, i32, Raw, i32);
    SQLGetInfoW(Raw, u16, Raw, i16, *mut i16);
    SQLGetDiagRecW(i16, Raw, i16, *mut Wide, *mut i32, *mut Wide, i16, *mut i16);
    SQLEndTran(i16, Raw, i16);
    SQLExecDirectW(Raw, *const Wide, i32);
    SQLRowCount(Raw, *mut isize);
    SQLNumResultCols(Raw, *mut i16);
    SQLDescribeColW(Raw, u16, *mut Wide, i16, *mut i16, *mut i16, *mut usize, *mut i16, *mut i16);
    SQLColAttributeW(Raw, u16, u16, Raw, i16, *mut i16, *mut isize);
    SQLSetStmtAttrW(Raw, i32, Raw, i32);
    SQLBindCol(Raw, u16, i16, Raw, isize, *mut isize);
    SQLFetch(Raw);
    SQLGetData(Raw, u16, i16, Raw, isize, *mut isize);
    SQLMoreResults(Raw);
    SQLCancel(Raw);
    SQLTablesW(Raw, *const Wide, i16, *const Wide, i16, *const Wide, i16, *const Wide, i16);
    SQLColumnsW(Raw, *const Wide, i16, *const Wide, i16, *const Wide, i16, *const Wide, i16);
    SQLPrimaryKeysW(Raw, *const Wide, i16, *const Wide, i16, *const Wide, i16);
}

pub(super) const ENVIRONMENT: i16 = 1;
pub(super) const CONNECTION: i16 = 2;
pub(super) const STATEMENT: i16 = 3;

pub(super) const SUCCESS: i16 = 0;
pub(super) const SUCCESS_WITH_INFO: i16 = 1;
pub(super) const NO_DATA: i16 = 100;

pub(super) const NULL_DATA: isize = -1;
pub(super) const NO_TOTAL: isize = -4;

pub(super) const ATTR_ODBC_VERSION: i32 = 200;
pub(super) const ODBC_3_80: usize = 380;
pub(super) const ODBC_3: usize = 3;
pub(super) const ATTR_AUTOCOMMIT: i32 = 102;
pub(super) const ATTR_LOGIN_TIMEOUT: i32 = 103;
pub(super) const ATTR_ROW_ARRAY_SIZE: i32 = 27;
pub(super) const ATTR_ROW_STATUS: i32 = 25;
pub(super) const ATTR_ROWS_FETCHED: i32 = 26;
pub(super) const IS_UINTEGER: i32 = -5;
pub(super) const DRIVER_NOPROMPT: u16 = 0;
pub(super) const FETCH_NEXT: u16 = 1;
pub(super) const COMMIT: i16 = 0;
pub(super) const ROLLBACK: i16 = 1;
pub(super) const ROW_ERROR: u16 = 5;

pub(super) const DESC_UNSIGNED: u16 = 8;
pub(super) const DESC_TYPE_NAME: u16 = 14;

/// Types in C that values are asked for as.
pub(super) mod c {
    pub(in crate::odbc) const CHAR: i16 = 1;
    pub(in crate::odbc) const WCHAR: i16 = -8;
    pub(in crate::odbc) const SBIGINT: i16 = -25;
    pub(in crate::odbc) const DOUBLE: i16 = 8;
    pub(in crate::odbc) const FLOAT: i16 = 7;
    pub(in crate::odbc) const BIT: i16 = -7;
    pub(in crate::odbc) const BINARY: i16 = -2;
    pub(in crate::odbc) const DATE: i16 = 91;
    pub(in crate::odbc) const TIMESTAMP: i16 = 93;
}
