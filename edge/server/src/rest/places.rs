//! Places for connections: how many there are, how many one address may hold, and who gives one up
//! when somebody else needs it.
//!
//! ```text
//!   take ──> there is one ──────────────────────────> Place, until it is dropped
//!     │
//!     └──> none: who has waited longest for a request is let go, and its place is given away
//!          nobody waits: refused, or whoever is oldest is let go (`Busy`)
//! ```
//! A connection waits while nothing that it asked is under way: between two requests, or with half of
//! one. A proxy's connection counts for nobody, and for whom a request names while that is under way.
//! HTTP lets a server close such a connection at any time, so those who keep connections, or send
//! half a request, never keep out who has something to ask. Invariants: nobody waits for a place; a
//! place that was given up is the newcomer's at once, so sockets are more than places only until the
//! tasks of those let go have run.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What becomes of a newcomer when all are busy with requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Busy {
    /// It is refused.
    Refuse,
    /// The oldest is let go.
    LetOldestGo,
}

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Full {
    /// All are taken, and each by a request.
    All,
    /// The address has all that it may have, each taken by a request.
    Address,
}

/// The places of a listener, or of a service.
pub(crate) struct Places {
    most: usize,
    most_of_address: usize,
    busy: Busy,
    state: Mutex<State>,
    given_back: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    holders: BTreeMap<u64, Holder>,
    /// Who waits for a request, by when that began.
    waiting: BTreeMap<u64, u64>,
    by_address: HashMap<IpAddr, usize>,
}

struct Holder {
    address: Option<IpAddr>,
    waits_since: Option<u64>,
    let_go: Arc<Notify>,
}

/// A place that is held; dropping it gives it back.
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    let_go: Arc<Notify>,
}

/// A place of a proxy's connection, counted for whom its present request names.
pub(crate) struct CountedFor(Arc<Place>);

/// A place was found, and at whose cost.
pub(crate) struct Taken {
    /// The place.
    pub(crate) place: Place,
    /// Somebody was let go for it.
    pub(crate) displaced: bool,
}

impl Places {
    /// So many places, so many of them for one address.
    pub(crate) fn new(most: usize, most_of_address: usize, busy: Busy) -> Arc<Self> {
        let (state, given_back) = (Mutex::default(), Notify::new());
        Arc::new(Self { most, most_of_address, busy, state, given_back })
    }

    /// A place for a connection, which counts for `address` if that is known.
    ///
    /// # Errors
    /// Why there is none, and nobody was let go.
    pub(crate) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Taken, Full> {
        let mut state = self.state();
        let mut displaced = match address {
            Some(address) => self.room_for(&mut state, address)?,
            None => false,
        };
        if state.holders.len() >= self.most {
            let oldest = match (state.oldest_waiting(|_| true), self.busy) {
                (Some(oldest), _) => oldest,
                (None, Busy::Refuse) => return Err(Full::All),
                (None, Busy::LetOldestGo) => {
                    *state.holders.keys().next().expect("a full house has somebody in it")
                }
            };
            state.let_go(oldest);
            displaced = true;
        }
        let number = state.number();
        let let_go = Arc::new(Notify::new());
        let waits_since = Some(state.number());
        state.waiting.extend(waits_since.map(|since| (since, number)));
        let holder = Holder { address: None, waits_since, let_go: Arc::clone(&let_go) };
        state.holders.insert(number, holder);
        state.count(number, address);
        drop(state);
        Ok(Taken { place: Place { places: Arc::clone(self), number, let_go }, displaced })
    }

    /// Finds room for one more of an address; answers whether one of its own was let go for it.
    fn room_for(&self, state: &mut State, address: IpAddr) -> Result<bool, Full> {
        let held = state.by_address.get(&address).copied().unwrap_or(0);
        if held < self.most_of_address {
            return Ok(false);
        }
        let own = state.oldest_waiting(|holder| holder.address == Some(address));
        state.let_go(own.ok_or(Full::Address)?);
        Ok(true)
    }

    /// Waits until nobody holds a place.
    pub(crate) async fn all_free(&self) {
        // Ends: when all are free, or the caller's patience does. A round is one that was given back.
        loop {
            let given_back = self.given_back.notified();
            if self.state().holders.is_empty() {
                return;
            }
            given_back.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn oldest_waiting(&self, counts: impl Fn(&Holder) -> bool) -> Option<u64> {
        let holders = self.waiting.values().copied();
        holders.into_iter().find(|number| self.holders.get(number).is_some_and(&counts))
    }

    /// Counts a holder for an address, and no longer for the one before.
    fn count(&mut self, number: u64, address: Option<IpAddr>) {
        let Some(holder) = self.holders.get_mut(&number) else { return };
        let before = std::mem::replace(&mut holder.address, address);
        self.uncount(before);
        if let Some(address) = address {
            *self.by_address.entry(address).or_default() += 1;
        }
    }

    fn uncount(&mut self, address: Option<IpAddr>) {
        if let Some(address) = address
            && let Some(count) = self.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    /// Takes a holder's place away, and tells it.
    fn let_go(&mut self, number: u64) {
        if let Some(let_go) = self.remove(number) {
            let_go.notify_one();
        }
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Notify>> {
        let holder = self.holders.remove(&number)?;
        if let Some(since) = holder.waits_since {
            self.waiting.remove(&since);
        }
        self.uncount(holder.address);
        Some(holder.let_go)
    }
}

impl Place {
    /// Whether the holder waits for a request, from now on.
    pub(crate) fn set_waiting(&self, waits: bool) {
        let mut state = self.places.state();
        let since = state.number();
        let Some(holder) = state.holders.get_mut(&self.number) else { return };
        if holder.waits_since.is_some() == waits {
            return;
        }
        let before = std::mem::replace(&mut holder.waits_since, waits.then_some(since));
        match before {
            Some(before) => drop(state.waiting.remove(&before)),
            None => drop(state.waiting.insert(since, self.number)),
        }
    }

    /// Counts the holder for an address until what is answered is dropped: the request that it serves
    /// is that of somebody else than the other end of its connection.
    ///
    /// # Errors
    /// If the address has all that it may have, each taken by a request.
    pub(crate) fn count_for(self: &Arc<Self>, address: IpAddr) -> Result<CountedFor, Full> {
        let mut state = self.places.state();
        self.places.room_for(&mut state, address)?;
        state.count(self.number, Some(address));
        Ok(CountedFor(Arc::clone(self)))
    }

    /// Waits until the holder is to go.
    pub(crate) async fn let_go(&self) {
        self.let_go.notified().await;
    }
}

impl Drop for CountedFor {
    fn drop(&mut self) {
        self.0.places.state().count(self.0.number, None);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().remove(self.number);
        self.places.given_back.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(192, 0, 2, last).into())
    }

    fn take(places: &Arc<Places>, of: u8) -> Place {
        places.take(address(of)).map_err(|full| format!("{full:?}")).unwrap().place
    }

    /// Whether it was let go; asked once.
    fn is_gone(place: &Place) -> bool {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().unwrap();
        let soon = std::time::Duration::from_millis(1);
        runtime.block_on(async { tokio::time::timeout(soon, place.let_go()).await.is_ok() })
    }

    #[test]
    fn who_has_waited_longest_gives_up_its_place() {
        let places = Places::new(3, 3, Busy::Refuse);
        let held: Vec<_> = (0..3).map(|of| take(&places, of)).collect();
        held[0].set_waiting(false);
        held[0].set_waiting(true);
        held[1].set_waiting(false);
        let newcomer = take(&places, 9);
        assert_eq!(held.iter().map(is_gone).collect::<Vec<_>>(), [false, false, true]);
        newcomer.set_waiting(false);
        let _other = take(&places, 9);
        assert!(is_gone(&held[0]));
    }

    #[test]
    fn where_all_are_busy_the_newcomer_is_refused_or_the_oldest_goes() {
        for busy in [Busy::Refuse, Busy::LetOldestGo] {
            let places = Places::new(2, 2, busy);
            let held: Vec<_> = (0..2).map(|of| take(&places, of)).collect();
            held.iter().for_each(|place| place.set_waiting(false));
            let taken = places.take(address(9)).map(|taken| taken.displaced);
            let refused = if busy == Busy::Refuse { Err(Full::All) } else { Ok(true) };
            assert_eq!(taken, refused);
            assert_eq!(is_gone(&held[0]), busy == Busy::LetOldestGo);
        }
    }

    #[test]
    fn an_address_has_its_own_and_takes_from_itself() {
        let places = Places::new(10, 2, Busy::Refuse);
        let held: Vec<_> = (0..2).map(|_| take(&places, 1)).collect();
        let other = take(&places, 2);
        held[1].set_waiting(false);
        let third = take(&places, 1);
        assert!(is_gone(&held[0]) && !is_gone(&held[1]) && !is_gone(&other));
        third.set_waiting(false);
        assert_eq!(places.take(address(1)).map(|_| ()), Err(Full::Address));
        drop(third);
        take(&places, 1);
        for _ in 0..5 {
            // Who is not counted has no limit of its own.
            std::mem::forget(places.take(None).map_err(|_| ()).unwrap().place);
        }
    }

    #[test]
    fn a_proxys_place_counts_for_whom_its_request_names_while_that_is_under_way() {
        let places = Places::new(10, 2, Busy::Refuse);
        let of_proxy: Vec<_> = (0..4).map(|_| Arc::new(places.take(None).unwrap().place)).collect();
        let [one, two] = [0, 1].map(|nth| address(nth).expect("an address"));
        of_proxy.iter().for_each(|place| place.set_waiting(false));
        let first = of_proxy[0].count_for(one).map_err(|_| ()).expect("room");
        let _second = of_proxy[1].count_for(one).map_err(|_| ()).expect("room");
        assert_eq!(of_proxy[2].count_for(one).map(|_| ()), Err(Full::Address));
        assert_eq!(
            places.take(Some(one)).map(|_| ()),
            Err(Full::Address),
            "wherever it comes from"
        );
        let _other = of_proxy[2].count_for(two).map_err(|_| ()).expect("room for another");
        drop(first);
        let _third = of_proxy[3].count_for(one).map_err(|_| ()).expect("one was answered");
    }

    #[test]
    fn what_is_given_back_or_taken_away_leaves_nothing() {
        let places = Places::new(1, 1, Busy::Refuse);
        let first = take(&places, 1);
        let second = take(&places, 2);
        first.set_waiting(false);
        first.set_waiting(true);
        drop(first);
        drop(second);
        let state = places.state();
        assert!(state.holders.is_empty() && state.waiting.is_empty());
        assert!(state.by_address.is_empty());
    }
}
