//! Parameters that know their type, so that a statement needs not be prepared first.
//!
//! One round trip in place of three, and no statement with a name stays behind in the session,
//! which behind PgBouncer may be another one each time.

use std::time::SystemTime;

use postgres::types::{Json, ToSql, Type};
use serde::Serialize;
use uuid::Uuid;

/// A value and its type.
pub(crate) type Typed<'a> = (&'a (dyn ToSql + Sync), Type);

/// A value of a type that our statements take.
pub(crate) trait Param {
    /// With its type.
    fn typed(&self) -> Typed<'_>;
}

macro_rules! param {
    ($($of:ty: $postgres:ident),+ $(,)?) => {$(
        impl Param for $of {
            fn typed(&self) -> Typed<'_> {
                (self, Type::$postgres)
            }
        }
    )+};
}

param! {
    bool: BOOL, i16: INT2, i32: INT4, i64: INT8, f64: FLOAT8,
    &str: TEXT, String: TEXT, Uuid: UUID, SystemTime: TIMESTAMPTZ,
    Option<i32>: INT4, Option<f64>: FLOAT8, Option<&str>: TEXT, Option<String>: TEXT, Option<Uuid>: UUID,
    &[i16]: INT2_ARRAY, &[Uuid]: UUID_ARRAY, Vec<Uuid>: UUID_ARRAY, Vec<SystemTime>: TIMESTAMPTZ_ARRAY,
    Vec<bool>: BOOL_ARRAY, Vec<i16>: INT2_ARRAY, Vec<i32>: INT4_ARRAY, Vec<i64>: INT8_ARRAY, Vec<f64>: FLOAT8_ARRAY,
    Vec<&str>: TEXT_ARRAY, Vec<String>: TEXT_ARRAY,
}

impl<T: Serialize + std::fmt::Debug + Sync> Param for Json<T> {
    fn typed(&self) -> Typed<'_> {
        (self, Type::JSONB)
    }
}

/// Each with its type.
pub(crate) fn typed<'a>(params: &[&'a dyn Param]) -> Vec<Typed<'a>> {
    params.iter().map(|param| param.typed()).collect()
}
