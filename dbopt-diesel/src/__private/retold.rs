//! diesel's errors, told again to those who waited for the same load: the originals cannot be cloned.

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error};

use crate::Error as Refusal;

pub(super) enum Retold {
    NotFound,
    RollbackTransaction,
    AlreadyInTransaction,
    NotInTransaction,
    Refused(Refusal),
    Database(Kind, Told),
}

type Kind = fn() -> DatabaseErrorKind;

#[derive(Clone, Debug)]
pub(super) struct Told {
    message: String,
    details: Option<String>,
    hint: Option<String>,
    table: Option<String>,
    column: Option<String>,
    constraint: Option<String>,
    position: Option<i32>,
}

impl Retold {
    pub(super) fn of(error: &Error) -> Option<Self> {
        Some(match error {
            Error::NotFound => Retold::NotFound,
            Error::RollbackTransaction => Retold::RollbackTransaction,
            Error::AlreadyInTransaction => Retold::AlreadyInTransaction,
            Error::NotInTransaction => Retold::NotInTransaction,
            Error::DatabaseError(kind, information) => Retold::Database(copy(kind)?, Told::of(&**information)),
            other => Retold::Refused(Refusal::of(other)?.clone()),
        })
    }

    pub(super) fn tell(&self) -> Error {
        match self {
            Retold::NotFound => Error::NotFound,
            Retold::RollbackTransaction => Error::RollbackTransaction,
            Retold::AlreadyInTransaction => Error::AlreadyInTransaction,
            Retold::NotInTransaction => Error::NotInTransaction,
            Retold::Refused(refusal) => refusal.clone().into(),
            Retold::Database(kind, told) => Error::DatabaseError(kind(), Box::new(told.clone())),
        }
    }
}

fn copy(kind: &DatabaseErrorKind) -> Option<Kind> {
    Some(match kind {
        DatabaseErrorKind::UniqueViolation => || DatabaseErrorKind::UniqueViolation,
        DatabaseErrorKind::ForeignKeyViolation => || DatabaseErrorKind::ForeignKeyViolation,
        DatabaseErrorKind::UnableToSendCommand => || DatabaseErrorKind::UnableToSendCommand,
        DatabaseErrorKind::SerializationFailure => || DatabaseErrorKind::SerializationFailure,
        DatabaseErrorKind::ReadOnlyTransaction => || DatabaseErrorKind::ReadOnlyTransaction,
        DatabaseErrorKind::NotNullViolation => || DatabaseErrorKind::NotNullViolation,
        DatabaseErrorKind::CheckViolation => || DatabaseErrorKind::CheckViolation,
        DatabaseErrorKind::RestrictViolation => || DatabaseErrorKind::RestrictViolation,
        DatabaseErrorKind::ExclusionViolation => || DatabaseErrorKind::ExclusionViolation,
        DatabaseErrorKind::ClosedConnection => || DatabaseErrorKind::ClosedConnection,
        DatabaseErrorKind::Unknown => || DatabaseErrorKind::Unknown,
        _ => return None,
    })
}

impl Told {
    fn of(information: &(dyn DatabaseErrorInformation + Send + Sync)) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Told {
            message: information.message().to_owned(),
            details: owned(information.details()),
            hint: owned(information.hint()),
            table: owned(information.table_name()),
            column: owned(information.column_name()),
            constraint: owned(information.constraint_name()),
            position: information.statement_position(),
        }
    }
}

impl DatabaseErrorInformation for Told {
    fn message(&self) -> &str {
        &self.message
    }

    fn details(&self) -> Option<&str> {
        self.details.as_deref()
    }

    fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    fn table_name(&self) -> Option<&str> {
        self.table.as_deref()
    }

    fn column_name(&self) -> Option<&str> {
        self.column.as_deref()
    }

    fn constraint_name(&self) -> Option<&str> {
        self.constraint.as_deref()
    }

    fn statement_position(&self) -> Option<i32> {
        self.position
    }
}
