"""What the rooms may know of accounts: profiles from memory, standing from the wallet."""

from __future__ import annotations

from collections.abc import Sequence

from billing_meter.rewards_store import Rewards
from billing_meter.wallet import Wallet
from rooms.directory import ExpertProfile
from rooms.roles import Standing, Visitor, VisitorKind
from signaling.experts import Experts


class AccountsDirectory:
    """Implements `rooms.directory.Directory`."""

    def __init__(self, experts: Experts, wallet: Wallet, rewards: Rewards) -> None:
        self._experts = experts
        self._wallet = wallet
        self.rewards = rewards

    def experts(self) -> Sequence[ExpertProfile]:
        """Every expert who may broadcast."""
        return self._experts.experts()

    def expert(self, expert_id: str) -> ExpertProfile | None:
        """One expert by account id."""
        return self._experts.expert(expert_id)

    def expert_by_name(self, name: str) -> ExpertProfile | None:
        """One expert by broadcaster name, whatever the case."""
        return self._experts.expert_by_name(name)

    async def standing(self, visitor: Visitor) -> Standing:
        """Premium is the ledger's word: the first settled purchase. So is the rank."""
        if visitor.kind is not VisitorKind.MEMBER:
            return Standing()
        earned = await self._wallet.standing(visitor.account_id)
        return Standing(
            premium=earned.premium,
            rank=await self.rewards.rank(visitor.account_id),
            extras_until_ms=earned.extras_until_ms,
        )
