"""From an address to a gallery and its search: the only module that knows all kinds of stores.

Nothing of Milvus is imported unless the address is one of Milvus.
"""

from __future__ import annotations

from pathlib import Path

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.masked_score import product_on
from facerec.recognition.search import MaskedSearch, Search, SearchMethod
from facerec.recognition.shortlist import shortlist_search
from facerec.recognition.store.protocol import MILVUS_PREFIX, GalleryStore, ModelContract
from facerec.recognition.store.sqlite import Gallery


def open_gallery(
    address: Path | str,
    contract: ModelContract | None = None,
    *,
    write: bool = False,
    create: bool = False,
    wait_s: float = 0.0,
) -> GalleryStore:
    """The gallery at `address`, a file or `milvus:URI`; with `create` made when it is not there.

    Args:
        address: where it is.
        contract: that of the models, when they must agree.
        write: to change it.
        create: make it when it is not there; `contract` must be given.
        wait_s: how long to wait for another writer of the file, seconds. Milvus has many writers and waits for none.

    Raises:
        InvalidInputError, ContractError, GalleryLockedError: as `Gallery.open`. MilvusError: Milvus does not answer.
    """
    text = str(address)
    if text.startswith(MILVUS_PREFIX):
        from facerec.recognition.store.milvus import MilvusGallery

        return MilvusGallery.open(text, contract, create=create)
    if create and contract is not None:
        return Gallery.create(Path(address), contract, exist_ok=True, wait_s=wait_s)
    return Gallery.open(Path(address), contract, write=write, wait_s=wait_s)


def search_of(gallery: GalleryStore, method: SearchMethod = "exact", device: str = "cpu") -> Search:
    """The search of `gallery`; in Milvus, the server's index takes the place of `method`.

    Args:
        gallery: open, for as long as the search is used.
        method: "exact", or the approximate index to take the shortlist from.
        device: where the exact search multiplies (`search.product_on`); approximate indexes stay on the CPU.
    """
    if isinstance(gallery, Gallery):
        if method == "exact":
            return MaskedSearch.of(gallery, product=product_on(device))
        return shortlist_search(gallery, method)
    from facerec.recognition.store.milvus import MilvusGallery
    from facerec.recognition.store.milvus_search import MilvusSearch

    assert isinstance(gallery, MilvusGallery)
    if method != "exact":
        raise InvalidInputError(f"expected no --search for {gallery.address}: Milvus has an index of its own")
    return MilvusSearch(gallery)
