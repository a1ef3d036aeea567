//! The mutation root: the commands, each of which calls one resolver of [`crate::resolvers`].

use async_graphql::{Context, Object, Result};

use super::inputs::{
    ActivateWorkerInput, ActivateWorkersInput, CreateTokenInput, DeregisterWorkerInput, DrainWorkerInput,
    DrainWorkersInput, JoinWorkerInput, PurgeWorkersInput, RecordHeartbeatInput, RegisterWorkerInput, RevokeTokenInput,
};
use super::object_types::{
    ActivateWorkerPayload, ActivateWorkersPayload, CreateTokenPayload, DeregisterWorkerPayload, DrainWorkerPayload,
    DrainWorkersPayload, JoinWorkerPayload, PurgeWorkersPayload, RecordHeartbeatPayload, RegisterWorkerPayload,
    ReleaseReservationPayload, Reservation, ReservePayload, RevokeTokenPayload, Token,
};
use super::placement_inputs::{ReleaseReservationInput, ReserveInput};
use super::scalars::{DateTime, Int53};
use crate::auth::Caller;
use crate::error::Error;
use crate::http::is_kept_for_operators;
use crate::resolvers::join::Joined;
use crate::resolvers::{Deregistration, HeartbeatSender, Precondition, Resolvers, checks};

/// Changes to the cluster. Each is on disk before it is answered.
pub struct Mutation;

/// Changes to the cluster. Each is on disk before it is answered.
#[Object]
impl Mutation {
    /// Stop scheduling new VMs on a worker. VMs already there keep running.
    async fn drain_worker(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which worker, and why.")] input: DrainWorkerInput,
    ) -> Option<Result<DrainWorkerPayload>> {
        nullable(async {
            let DrainWorkerInput { worker_id, reason, deadline, metadata, if_revision } = input;
            let (drain, if_revision) = (DrainWorkerInput::drain(reason, deadline, metadata), revision(if_revision)?);
            Ok(ctx.data::<Resolvers>()?.drain_worker(caller(ctx)?, &worker_id, drain, if_revision).await?.into())
        })
        .await
    }

    /// Open a worker for new VMs again.
    async fn activate_worker(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which worker, and why.")] input: ActivateWorkerInput,
    ) -> Option<Result<ActivateWorkerPayload>> {
        nullable(async {
            let ActivateWorkerInput { worker_id, reason, if_revision } = input;
            let if_revision = revision(if_revision)?;
            Ok(ctx.data::<Resolvers>()?.activate_worker(caller(ctx)?, &worker_id, reason, if_revision).await?.into())
        })
        .await
    }

    /// Drain the workers that match, all in one revision, so that none of them takes another's VMs. A conflict, with the
    /// plan in `extensions.plan` of the error, if the rest of the cluster cannot hold the VMs on them; unless
    /// `allowShortfall` says so, or all of them drain already. Whether it can is decided on the latest state. At most 10,000
    /// workers at once. For the role `OPERATOR`.
    async fn drain_workers(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which workers, and why.")] input: DrainWorkersInput,
    ) -> Option<Result<DrainWorkersPayload>> {
        nullable(async {
            let drained = ctx.data::<Resolvers>()?.drain_workers(caller(ctx)?, input.try_into()?).await?;
            Ok(drained.into())
        })
        .await
    }

    /// Open the workers that match for new VMs again, all in one revision; at most 10,000 at once. For the role `OPERATOR`.
    async fn activate_workers(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which workers, and why.")] input: ActivateWorkersInput,
    ) -> Option<Result<ActivateWorkersPayload>> {
        nullable(async {
            let activated = ctx.data::<Resolvers>()?.activate_workers(caller(ctx)?, input.try_into()?).await?;
            Ok(activated.into())
        })
        .await
    }

    /// Called by a worker that has a join token and none of its own: from then on, the token that it made for itself speaks
    /// for it. For the role `JOIN`.
    async fn join_worker(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which worker, and its own token.")] input: JoinWorkerInput,
    ) -> Option<Result<JoinWorkerPayload>> {
        nullable(async {
            check_connection()?;
            let worker_id = input.worker_id.clone();
            let Joined { token, .. } =
                ctx.data::<Resolvers>()?.join_worker(caller(ctx)?, &worker_id, input.into()).await?;
            let (token_id, joined_at) = (token.id.as_str().into(), DateTime(token.created_at));
            Ok(JoinWorkerPayload { worker_id, token_id, joined_at })
        })
        .await
    }

    /// Called by a worker when it starts.
    async fn register_worker(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Who the worker is and how large.")] input: RegisterWorkerInput,
    ) -> Option<Result<RegisterWorkerPayload>> {
        nullable(async {
            if let Err(refused) = check_connection() {
                ctx.data::<Resolvers>()?.note_liveness_sign_of_registration(
                    caller(ctx)?,
                    &input.worker_id,
                    input.boot_id.as_deref(),
                );
                return Err(refused.into());
            }
            let (worker_id, if_revision) = (input.worker_id.clone(), revision(input.if_revision)?);
            let condition = if if_revision == Some(0) { Precondition::is_new() } else { if_revision.into() };
            let resolvers = ctx.data::<Resolvers>()?;
            let registered = resolvers.register_worker_if(caller(ctx)?, &worker_id, input.into(), condition).await?;
            Ok(RegisterWorkerPayload(registered))
        })
        .await
    }

    /// Called by a worker every few seconds; the reply says when to call again and what operators want.
    async fn record_heartbeat(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What the worker uses.")] input: RecordHeartbeatInput,
    ) -> Option<Result<RecordHeartbeatPayload>> {
        nullable(async {
            let worker_id = input.worker_id.clone();
            let resolvers = ctx.data::<Resolvers>()?;
            if let Err(refused) = check_connection() {
                let (incarnation, sequence) = (input.incarnation.0, input.sequence.map(|number| number.0));
                let boot_id = input.boot_id.as_deref();
                resolvers.note_liveness_signs(
                    caller(ctx)?,
                    [HeartbeatSender { worker_id: &worker_id, incarnation, boot_id, sequence }],
                );
                return Err(refused.into());
            }
            let recorded = resolvers.record_heartbeat(caller(ctx)?, &worker_id, input.into()).await?;
            Ok(RecordHeartbeatPayload(recorded))
        })
        .await
    }

    /// Called by a worker that leaves for good.
    async fn deregister_worker(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which worker, and how.")] input: DeregisterWorkerInput,
    ) -> Option<Result<DeregisterWorkerPayload>> {
        nullable(async {
            let DeregisterWorkerInput { worker_id, incarnation, boot_id, host_boot_id, purge, force, if_revision } =
                input;
            let condition = revision(if_revision)?.into();
            let incarnation = incarnation.map(|incarnation| incarnation.0);
            let deregistration = Deregistration { incarnation, boot_id, host_boot_id, purge, force, condition };
            let deregistered =
                ctx.data::<Resolvers>()?.deregister_worker(caller(ctx)?, &worker_id, deregistration).await?;
            Ok(DeregisterWorkerPayload::of(worker_id, deregistered))
        })
        .await
    }

    /// Remove many workers at once, with their VMs: those that match, as many of them as one commit takes, 1,000 at most.
    /// While `remaining` is not 0, the same again removes more. Workers on which VMs hold slots are not removed unless
    /// that is forced. For the role `ADMIN`.
    async fn purge_workers(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which workers, and whether only to tell.")] input: PurgeWorkersInput,
    ) -> Option<Result<PurgeWorkersPayload>> {
        nullable(async {
            let purge = ctx.data::<Resolvers>()?.purge_workers(caller(ctx)?, input.try_into()?).await?;
            Ok(purge.into())
        })
        .await
    }

    /// Hold room for VMs that are not there yet, for all of them or for none: nobody else gets it until VMs take it, or
    /// it is released, or it expires.
    async fn reserve(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The VMs, where they may be, and for how long room is held.")] input: ReserveInput,
    ) -> Option<Result<ReservePayload>> {
        nullable(async {
            let reservation = ctx.data::<Resolvers>()?.reserve(caller(ctx)?, input.into()).await?;
            Ok(ReservePayload { reservation: Reservation(reservation) })
        })
        .await
    }

    /// Give back what a reservation still holds. A conflict if VMs have all of it.
    async fn release_reservation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which reservation, and why.")] input: ReleaseReservationInput,
    ) -> Option<Result<ReleaseReservationPayload>> {
        nullable(async {
            let ReleaseReservationInput { reservation_id, reason } = input;
            let resolvers = ctx.data::<Resolvers>()?;
            let released = resolvers.release_reservation(caller(ctx)?, &reservation_id, reason).await?;
            let (reservation, changed) = (Reservation(released.reservation), released.changed);
            Ok(ReleaseReservationPayload { reservation, changed })
        })
        .await
    }

    /// Give somebody, or a program, a role. For the role `ADMIN`.
    async fn create_token(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What it is for.")] input: CreateTokenInput,
    ) -> Option<Result<CreateTokenPayload>> {
        nullable(async {
            let created = ctx.data::<Resolvers>()?.create_token(caller(ctx)?, input.into()).await?;
            Ok(CreateTokenPayload { secret: created.text.expose().to_owned(), token: Token(created.token) })
        })
        .await
    }

    /// Take a token back: streams, sockets and long polls that were begun with it end within a second. For the role
    /// `ADMIN`.
    async fn revoke_token(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which token.")] input: RevokeTokenInput,
    ) -> Option<Result<RevokeTokenPayload>> {
        nullable(async {
            let token = ctx.data::<Resolvers>()?.revoke_token(caller(ctx)?, &input.token_id).await?;
            Ok(RevokeTokenPayload { token: Token(token) })
        })
        .await
    }
}

/// Who sends the request.
fn caller<'a>(ctx: &Context<'a>) -> Result<&'a Caller> {
    ctx.data::<Caller>()
}

/// Refuses commands of workers on connections that are reserved for operators.
fn check_connection() -> Result<(), Error> {
    if is_kept_for_operators() { Err(Error::NoConnectionForWorkers) } else { Ok(()) }
}

/// Makes the payload of a mutation nullable: if one mutation of a document fails, its payload is null and those of the
/// others are kept. (The engine does that only for an error inside the option.)
async fn nullable<T>(payload: impl Future<Output = Result<T>>) -> Option<Result<T>> {
    Some(payload.await)
}

fn revision(number: Option<Int53>) -> Result<Option<u64>, Error> {
    number.map(|number| checks::revision("if_revision", number.0)).transpose()
}
