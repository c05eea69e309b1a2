//! Wire to domain: enumerations, whose unknown values are faults.

pub(super) use crate::operations::Faults;

/// An enum's number as its type; the zero and every named value are known, anything else is a fault.
pub(super) fn enumeration<E: TryFrom<i32> + Default>(number: i32, field: &str, faults: &mut Faults) -> E {
    E::try_from(number).unwrap_or_else(|_| {
        faults.add(field, format!("has no value {number}"));
        E::default()
    })
}
