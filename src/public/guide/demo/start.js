
showCurl(currentUser().id);
$("transport").value = sessionStorage.getItem(TRANSPORT) ?? "sse";
if (sessionStorage.getItem(TOKEN)) connect();
