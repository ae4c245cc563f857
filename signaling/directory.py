"""What the rooms may know of accounts: profiles from memory, standing from the wallet."""

from __future__ import annotations

from collections.abc import Sequence

from billing_meter.wallet import Wallet
from rooms.directory import ExpertProfile
from rooms.roles import Standing, Visitor, VisitorKind
from signaling.experts import Experts


class AccountsDirectory:
    """Implements `rooms.directory.Directory`."""

    def __init__(self, experts: Experts, wallet: Wallet) -> None:
        self._experts = experts
        self._wallet = wallet

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
        """Premium is the ledger's word: the first settled purchase."""
        if visitor.kind is not VisitorKind.MEMBER:
            return Standing()
        earned = await self._wallet.standing(visitor.account_id)
        return Standing(premium=earned.premium, extras_until_ms=earned.extras_until_ms)
