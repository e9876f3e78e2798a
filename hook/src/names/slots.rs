//! Numbered places for what is at work, so that an event of the kernel tells by a number what it concerns.

use std::iter;

/// Places of which some are taken.
pub struct Slots<T> {
    places: Vec<Option<(u64, T)>>,
    free: Vec<usize>,
    /// How many there were.
    serial: u64,
}

/// What is in a place; another one that is there later has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The number of the place.
    pub place: usize,
    serial: u64,
}

impl<T> Slots<T> {
    /// None is taken.
    pub fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), serial: 0 }
    }

    /// How many are taken.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Puts `one` into a free place.
    pub fn put(&mut self, one: T) -> Ticket {
        self.serial += 1;
        let entry = Some((self.serial, one));
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place] = entry;
                place
            }
            None => {
                self.places.push(entry);
                self.places.len() - 1
            }
        };
        Ticket { place, serial: self.serial }
    }

    /// What is in `place`.
    pub fn at(&mut self, place: usize) -> Option<(Ticket, &mut T)> {
        let (serial, one) = self.places.get_mut(place)?.as_mut()?;
        Some((Ticket { place, serial: *serial }, one))
    }

    /// What has this ticket.
    pub fn get(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.at(ticket.place).filter(|(found, _)| *found == ticket).map(|(_, one)| one)
    }

    /// Takes out what has this ticket.
    pub fn take(&mut self, ticket: Ticket) -> Option<T> {
        self.get(ticket)?;
        self.free.push(ticket.place);
        self.places[ticket.place].take().map(|(_, one)| one)
    }

    /// All that is there.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &T)> {
        iter::zip(0.., &self.places).filter_map(|(place, entry)| {
            let (serial, one) = entry.as_ref()?;
            Some((Ticket { place, serial: *serial }, one))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_taken_again_has_another_ticket() {
        let mut slots = Slots::new();
        let (one, two) = (slots.put("one"), slots.put("two"));
        assert_eq!((slots.take(one), slots.take(one), slots.len()), (Some("one"), None, 1));
        let three = slots.put("three");
        assert_eq!((three.place, three == one, slots.len()), (one.place, false, 2));
        assert_eq!(slots.get(one), None);
        assert_eq!(
            slots.iter().map(|(ticket, one)| (ticket, *one)).collect::<Vec<_>>(),
            [(three, "three"), (two, "two")]
        );
    }
}
