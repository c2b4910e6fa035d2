//! The structs of the C interfaces of ADBC 1.1 and of Arrow, as their headers have them.

use std::ffi::{c_char, c_int, c_void};

pub(super) const VERSION_1_0: c_int = 1_000_000;
pub(super) const VERSION_1_1: c_int = 1_001_000;

pub(super) const OK: u8 = 0;

/// What a call failed of.
#[repr(C)]
pub(super) struct AdbcError {
    pub(super) message: *mut c_char,
    pub(super) vendor_code: i32,
    pub(super) state: [c_char; 5],
    pub(super) release: Option<unsafe extern "C" fn(*mut AdbcError)>,
    pub(super) private_data: *mut c_void,
    pub(super) private_driver: *mut c_void,
}

/// A database, a connection, a statement: what is in them belongs to the driver.
#[repr(C)]
pub(super) struct Object {
    pub(super) private_data: *mut c_void,
    pub(super) private_driver: *mut c_void,
}

type Of = Option<unsafe extern "C" fn(*mut Object, *mut AdbcError) -> u8>;
type OfTwo = Option<unsafe extern "C" fn(*mut Object, *mut Object, *mut AdbcError) -> u8>;
type SetOption =
    Option<unsafe extern "C" fn(*mut Object, *const c_char, *const c_char, *mut AdbcError) -> u8>;
/// One that is not called here.
type Other = *const c_void;

/// The functions of a driver.
#[repr(C)]
#[allow(clippy::type_complexity, reason = "as the header has them")]
pub(super) struct AdbcDriver {
    pub(super) private_data: *mut c_void,
    pub(super) private_manager: *mut c_void,
    pub(super) release: Other,
    pub(super) database_init: Of,
    pub(super) database_new: Of,
    pub(super) database_set_option: SetOption,
    pub(super) database_release: Of,
    pub(super) connection_commit: Other,
    pub(super) connection_get_info: Option<
        unsafe extern "C" fn(
            *mut Object,
            *const u32,
            usize,
            *mut ArrowStream,
            *mut AdbcError,
        ) -> u8,
    >,
    pub(super) connection_get_objects: Option<
        unsafe extern "C" fn(
            *mut Object,
            c_int,
            *const c_char,
            *const c_char,
            *const c_char,
            *const *const c_char,
            *const c_char,
            *mut ArrowStream,
            *mut AdbcError,
        ) -> u8,
    >,
    pub(super) connection_get_table_schema: Option<
        unsafe extern "C" fn(
            *mut Object,
            *const c_char,
            *const c_char,
            *const c_char,
            *mut ArrowSchema,
            *mut AdbcError,
        ) -> u8,
    >,
    pub(super) connection_get_table_types: Other,
    pub(super) connection_init: OfTwo,
    pub(super) connection_new: Of,
    pub(super) connection_set_option: SetOption,
    pub(super) connection_read_partition: Other,
    pub(super) connection_release: Of,
    pub(super) connection_rollback: Other,
    pub(super) statement_bind: Other,
    pub(super) statement_bind_stream: Other,
    pub(super) statement_execute_query:
        Option<unsafe extern "C" fn(*mut Object, *mut ArrowStream, *mut i64, *mut AdbcError) -> u8>,
    pub(super) statement_execute_partitions: Other,
    pub(super) statement_get_parameter_schema: Other,
    pub(super) statement_new: OfTwo,
    pub(super) statement_prepare: Other,
    pub(super) statement_release: Of,
    pub(super) statement_set_option: SetOption,
    pub(super) statement_set_sql_query:
        Option<unsafe extern "C" fn(*mut Object, *const c_char, *mut AdbcError) -> u8>,
    pub(super) statement_set_substrait_plan: Other,
    /// Those that came with 1.1: error details and typed options before, `ConnectionCancel` the eleventh.
    pub(super) before_cancel: [Other; 10],
    pub(super) connection_cancel: Of,
    pub(super) before_statement_cancel: [Other; 9],
    pub(super) statement_cancel: Of,
    pub(super) rest: [Other; 8],
}

/// The function that fills in those of a driver.
pub(super) type Init = unsafe extern "C" fn(c_int, *mut c_void, *mut AdbcError) -> u8;

/// A type of Arrow.
#[repr(C)]
pub(super) struct ArrowSchema {
    pub(super) format: *const c_char,
    pub(super) name: *const c_char,
    pub(super) metadata: *const c_char,
    pub(super) flags: i64,
    pub(super) n_children: i64,
    pub(super) children: *mut *mut ArrowSchema,
    pub(super) dictionary: *mut ArrowSchema,
    pub(super) release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    pub(super) private_data: *mut c_void,
}

/// Values of Arrow.
#[repr(C)]
pub(super) struct ArrowArray {
    pub(super) length: i64,
    pub(super) null_count: i64,
    pub(super) offset: i64,
    pub(super) n_buffers: i64,
    pub(super) n_children: i64,
    pub(super) buffers: *mut *const c_void,
    pub(super) children: *mut *mut ArrowArray,
    pub(super) dictionary: *mut ArrowArray,
    pub(super) release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    pub(super) private_data: *mut c_void,
}

/// Batches of Arrow.
#[repr(C)]
pub(super) struct ArrowStream {
    pub(super) get_schema:
        Option<unsafe extern "C" fn(*mut ArrowStream, *mut ArrowSchema) -> c_int>,
    pub(super) get_next: Option<unsafe extern "C" fn(*mut ArrowStream, *mut ArrowArray) -> c_int>,
    pub(super) get_last_error: Option<unsafe extern "C" fn(*mut ArrowStream) -> *const c_char>,
    pub(super) release: Option<unsafe extern "C" fn(*mut ArrowStream)>,
    pub(super) private_data: *mut c_void,
}

macro_rules! released {
    ($($name:ident),*) => {
        $(
            #[allow(unsafe_code)]
            impl Drop for $name {
                fn drop(&mut self) {
                    if let Some(release) = self.release {
                        // SAFETY: it was filled in by a driver and not released yet, which sets this to null.
                        unsafe { release(self) };
                    }
                }
            }

            #[allow(unsafe_code)]
            impl $name {
                /// One that holds nothing, for a driver to fill in.
                pub(super) fn empty() -> Self {
                    // SAFETY: numbers and pointers that are null, and functions that there are not.
                    unsafe { std::mem::zeroed() }
                }
            }
        )*
    };
}

released!(AdbcError, ArrowSchema, ArrowArray, ArrowStream);

const _: () = {
    // As the headers for machines of 64 bits have them.
    assert!(size_of::<usize>() != 8 || size_of::<ArrowSchema>() == 72);
    assert!(size_of::<usize>() != 8 || size_of::<ArrowArray>() == 80);
    assert!(size_of::<usize>() != 8 || size_of::<AdbcDriver>() == 58 * 8);
};
