//! Identifiers. Each is a newtype, so that no two kinds can be confused.
//!
//! Text form of UUIDs: hyphenated lower case. Binary form: 16 bytes in the order of RFC 9562
//! (big-endian fields), so that bytes, text and time sort alike for versions 6 and 7.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default,
            Archive, Serialize, Deserialize,
        )]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// The id as a UUID.
            pub const fn uuid(self) -> Uuid {
                Uuid::from_bytes(self.0)
            }

            /// Whether this is the nil id, which stands for "none" in fixed parts.
            pub const fn is_nil(self) -> bool {
                u128::from_be_bytes(self.0) == 0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid.into_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.uuid().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.uuid())
            }
        }
    };
}

uuid_id! {
    /// A user. Random (version 4), made by the server or by the identity provider.
    UserId
}
uuid_id! {
    /// A group. Random (version 4), made by the server.
    GroupId
}
uuid_id! {
    /// A client's name for a message it sends: idempotency key, unique per device, best a UUIDv7.
    MessageId
}
uuid_id! {
    /// The server's name for an accepted message: UUIDv6, rises with the order of acceptance of
    /// one stamper, carries node and worker in its node field.
    ServerId
}

/// A device of a user: 1 to 127.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
pub struct DeviceId(u8);

impl DeviceId {
    /// The highest device number.
    pub const MAX: u8 = 127;

    /// A device id, if `number` is 1 to 127.
    pub const fn new(number: u8) -> Option<Self> {
        if number >= 1 && number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The device's number, 1 to 127.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({})", self.0)
    }
}

/// A set of devices of one user, as a bit per device number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Archive, Serialize, Deserialize)]
pub struct DeviceSet(u128);

impl DeviceSet {
    /// No device.
    pub const EMPTY: Self = Self(0);

    /// The set of just `device`.
    pub const fn only(device: DeviceId) -> Self {
        Self(1 << device.number())
    }

    /// Whether no device is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Number of devices, 0 to 127.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether `device` is in the set.
    pub const fn contains(self, device: DeviceId) -> bool {
        self.0 & (1 << device.number()) != 0
    }

    /// The set with `device` in it.
    #[must_use]
    pub const fn with(self, device: DeviceId) -> Self {
        Self(self.0 | 1 << device.number())
    }

    /// The set without `device`.
    #[must_use]
    pub const fn without(self, device: DeviceId) -> Self {
        Self(self.0 & !(1 << device.number()))
    }

    /// The devices in the set, in rising order.
    pub fn iter(self) -> impl Iterator<Item = DeviceId> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            if bits == 0 {
                return None;
            }
            let number = bits.trailing_zeros() as u8;
            bits &= bits - 1;
            DeviceId::new(number)
        })
    }
}

impl FromIterator<DeviceId> for DeviceSet {
    fn from_iter<I: IntoIterator<Item = DeviceId>>(devices: I) -> Self {
        devices.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for DeviceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
