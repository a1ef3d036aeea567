//! Pages of workers and VMs, as Relay's specification of connections has them.

use async_graphql::{Context, Result, SimpleObject};

use super::budget::Budget;
use super::object::{Vm, Worker};
use super::shape::{Int, Shape};
use crate::cluster::{VmView, WorkerView};
use crate::resolvers::page::{Page, PageNames, PageRequest};

/// The arguments of every connection.
pub(super) struct PageArguments {
    pub(super) first: Option<i32>,
    pub(super) after: Option<String>,
    pub(super) last: Option<i32>,
    pub(super) before: Option<String>,
}

impl From<PageArguments> for PageRequest {
    fn from(PageArguments { first, after, last, before }: PageArguments) -> Self {
        Self { first: first.map(Into::into), after, last: last.map(Into::into), before, names: PageNames::default() }
    }
}

/// Where a page lies in its list.
#[derive(SimpleObject)]
pub(super) struct PageInfo {
    /// Whether there is more after this page.
    pub(super) has_next_page: bool,
    /// Whether there is more before this page.
    pub(super) has_previous_page: bool,
    /// Cursor of the first element of this page.
    pub(super) start_cursor: Option<String>,
    /// Cursor of the last element of this page.
    pub(super) end_cursor: Option<String>,
}

impl<T> From<&Page<T>> for PageInfo {
    fn from(page: &Page<T>) -> Self {
        Self {
            has_next_page: page.has_next,
            has_previous_page: page.has_previous,
            start_cursor: page.start_cursor(),
            end_cursor: page.end_cursor(),
        }
    }
}

macro_rules! connection {
    ($(#[$doc:meta])* $connection:ident, $(#[$edge_doc:meta])* $edge:ident, $node:ident($view:ty)) => {
        $(#[$doc])*
        #[derive(SimpleObject)]
        pub(super) struct $connection {
            /// The elements with their cursors.
            edges: Vec<$edge>,
            /// The elements.
            nodes: Vec<$node>,
            /// Where this page lies in the whole list.
            page_info: PageInfo,
            /// How many elements there are in the whole list.
            total_count: i32,
        }

        $(#[$edge_doc])*
        #[derive(SimpleObject)]
        pub(super) struct $edge {
            /// Place of the element in the list; stays right while others come and go.
            cursor: String,
            /// The element.
            node: $node,
        }

        impl $connection {
            /// A page, whose elements are shown twice.
            pub(super) fn of(ctx: &Context<'_>, mut page: Page<$view>) -> Result<Self> {
                if !Budget::pay(ctx, 2 * page.edges.len())? {
                    page.edges.clear();
                }
                let (page_info, total_count) = (PageInfo::from(&page), Int::of(page.total));
                let nodes = page.edges.iter().map(|edge| $node(edge.node.clone())).collect();
                let edges = page
                    .edges
                    .into_iter()
                    .map(|edge| $edge { cursor: edge.cursor(), node: $node(edge.node) })
                    .collect();
                Ok(Self { edges, nodes, page_info, total_count })
            }
        }
    };
}

connection! {
    /// Page of workers.
    WorkerConnection,
    /// Worker with its place in a list.
    WorkerEdge,
    Worker(WorkerView)
}
connection! {
    /// Page of VMs.
    VmConnection,
    /// VM with its place in a list.
    VmEdge,
    Vm(VmView)
}
